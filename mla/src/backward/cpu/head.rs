//! One head of one sequence: its weights are made again, some queries at a time, and met by products of small
//! matrices.

use latent_kernels::Scalar;
use latent_kernels::cpu::{Cpu, Kernel, LANES, Simd, View, add_matmul, exp};

/// The queries of a block: later keys than its last are not met.
const BLOCK: usize = 48;

/// What a head attends with. Rows have neighbours, and lie where they are.
pub(super) struct Head<'a> {
    pub(super) tokens: usize,
    pub(super) q: View<'a>,   // [token, key_dim]
    pub(super) k: View<'a>,   // [token, key_dim]
    pub(super) v: View<'a>,   // [token, value_dim]
    pub(super) d_o: View<'a>, // [token, value_dim]
    pub(super) dims: [usize; 2],
    pub(super) scale: f64,
}

/// The gradients by each.
pub(super) struct Gradients {
    pub(super) dq: Vec<f32>,
    pub(super) dk: Vec<f32>,
    pub(super) dv: Vec<f32>,
}

impl Head<'_> {
    pub(super) fn backward(self, cpu: &Cpu) -> Gradients {
        let Self { tokens, q, k, v, d_o, dims: [key, value], scale } = self;
        let across_k = transposed(cpu, k, [tokens, key]);
        let across_v = transposed(cpu, v, [tokens, value]);
        let mut dq = vec![0.0; tokens * key];
        let (mut dk, mut dv) = (vec![0.0; tokens * key], vec![0.0; tokens * value]);
        for first in (0..tokens).step_by(BLOCK) {
            // The keys that the block sees are those up to its last query.
            let (count, seen) = (BLOCK.min(tokens - first), tokens.min(first + BLOCK));
            let of_key = first * key..(first + count) * key;
            let (q, d_o) = (q.from_row(first), d_o.from_row(first));
            let mut p = vec![0.0; count * seen];
            add_matmul(cpu, q, (&across_k, tokens), (&mut p, seen), [count, key, seen]);
            let mut ds = vec![0.0; count * seen];
            add_matmul(cpu, d_o, (&across_v, tokens), (&mut ds, seen), [count, value, seen]);
            for (i, (p, ds)) in p.chunks_exact_mut(seen).zip(ds.chunks_exact_mut(seen)).enumerate()
            {
                cpu.isa().run(Weights {
                    p,
                    ds,
                    seen: first + i + 1,
                    scale: Scalar::from_f64(scale),
                });
            }
            let (p, ds) = (View::rows(&p, seen), View::rows(&ds, seen));
            let sizes = [count, seen, key];
            add_matmul(cpu, ds, (k.values, k.row), (&mut dq[of_key], key), sizes);
            let sizes = [seen, count, key];
            add_matmul(cpu, ds.transposed(), (q.values, q.row), (&mut dk, key), sizes);
            let sizes = [seen, count, value];
            add_matmul(cpu, p.transposed(), (d_o.values, d_o.row), (&mut dv, value), sizes);
        }
        Gradients { dq, dk, dv }
    }
}

/// `rows` of `width` neighbours as columns.
pub(super) fn transposed(cpu: &Cpu, x: View<'_>, [rows, width]: [usize; 2]) -> Vec<f32> {
    let mut turned = vec![0.0; rows * width];
    cpu.isa().run(Turn { x, rows, width, to: &mut turned });
    turned
}

/// Blocks of sixteen by sixteen, and what is left of rows and columns one by one.
struct Turn<'a> {
    x: View<'a>,
    rows: usize,
    width: usize,
    to: &'a mut [f32],
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Turn { x: View { values: x, row: stride, .. }, rows, width, to } = self;
        for row in (0..rows).step_by(LANES) {
            for col in (0..width).step_by(LANES) {
                if row + LANES <= rows && col + LANES <= width {
                    let from = x[row * stride + col..][..(LANES - 1) * stride + LANES].as_ptr();
                    let to = to[col * rows + row..][..(LANES - 1) * rows + LANES].as_mut_ptr();
                    // SAFETY: there are sixteen rows of sixteen on both sides, and the processor has the set by the
                    // contract of the trait.
                    unsafe { S::transpose(from, stride, to, rows) };
                    continue;
                }
                for i in row..rows.min(row + LANES) {
                    for j in col..width.min(col + LANES) {
                        to[j * rows + i] = x[i * stride + j];
                    }
                }
            }
        }
    }
}

/// One query's scores become its weights `p = softmax(scale score)`, and their gradients `dp` become
/// `scale p (dp - Σ p dp)`; keys that it does not see have neither.
struct Weights<'a> {
    p: &'a mut [f32],
    ds: &'a mut [f32],
    seen: usize,
    scale: f32,
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Weights { p, ds, seen, scale } = self;
        p[seen..].fill(0.0);
        ds[seen..].fill(0.0);
        let (p, ds) = (&mut p[..seen], &mut ds[..seen]);
        let (whole, rest) = (seen / LANES * LANES, seen % LANES);
        // Scores that are not there count as nothing: a weight of 0.
        let (mut p_last, mut ds_last) = ([f32::NEG_INFINITY; LANES], [0.0_f32; LANES]);
        p_last[..rest].copy_from_slice(&p[whole..]);
        ds_last[..rest].copy_from_slice(&ds[whole..]);
        // SAFETY: a chunk is a vector, and the processor has the set by the contract of the trait.
        unsafe {
            let factor = S::splat(scale);
            // A score that is not there, or no number, is never the largest.
            let mut lanes = [f32::NEG_INFINITY; LANES];
            let mut largest = S::load(lanes.as_ptr());
            for at in (0..whole).step_by(LANES) {
                largest = S::max(S::mul(S::load(p[at..].as_ptr()), factor), largest);
            }
            S::store(lanes.as_mut_ptr(), largest);
            let mut max = f32::NEG_INFINITY;
            for lane in lanes {
                max = if lane > max { lane } else { max };
            }
            for &score in &p[whole..] {
                max = if score * scale > max { score * scale } else { max };
            }
            let max = S::splat(max);
            let (mut sum, mut along) = (S::splat(0.0), S::splat(0.0));
            for at in (0..whole).step_by(LANES) {
                let to = p[at..].as_mut_ptr();
                let e = exp::<S>(S::sub(S::mul(S::load(to), factor), max));
                S::store(to, e);
                sum = S::add(sum, e);
                along = S::fma(e, S::load(ds[at..].as_ptr()), along);
            }
            let e = exp::<S>(S::sub(S::mul(S::load(p_last.as_ptr()), factor), max));
            S::store(p_last.as_mut_ptr(), e);
            let total = S::sum(S::add(sum, e));
            along = S::fma(e, S::load(ds_last.as_ptr()), along);
            let (share, mean) = (S::splat(total.recip()), S::splat(S::sum(along) / total));
            for at in (0..whole).step_by(LANES) {
                let to = [p[at..].as_mut_ptr(), ds[at..].as_mut_ptr()];
                finish::<S>(to, share, mean, factor);
            }
            finish::<S>([p_last.as_mut_ptr(), ds_last.as_mut_ptr()], share, mean, factor);
        }
        p[whole..].copy_from_slice(&p_last[..rest]);
        ds[whole..].copy_from_slice(&ds_last[..rest]);
    }
}

/// Sixteen exponentials and gradients of weights, in place.
///
/// # Safety
/// The processor has the instructions of `S`, and each is a vector.
#[inline(always)]
unsafe fn finish<S: Simd>([p, ds]: [*mut f32; 2], share: S::V, mean: S::V, scale: S::V) {
    // SAFETY: by the contract of this function.
    unsafe {
        let weight = S::mul(S::load(p), share);
        S::store(p, weight);
        S::store(ds, S::mul(S::mul(weight, S::sub(S::load(ds), mean)), scale));
    }
}
