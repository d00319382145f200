//! Products with each head's part of `kv_b`.

use std::marker::PhantomData;

use latent_kernels::cpu::{
    Bf16, Cpu, E4m3, Element, F16, F32, I8, Kernel, LANES, Parts, Rows, Simd,
};
use latent_kernels::linear::cpu::product;
use latent_kernels::{BlockScale, Cost, Dtype, Weight};

use crate::LatentDims;

/// What products with `taken` rows of each head cost.
pub(super) fn cost(w: &Weight, dims: LatentDims, tokens: usize, taken: usize) -> Cost {
    let (heads, rank) = (dims.num_attention_heads, dims.kv_lora_rank);
    let weights = w.stored_bytes() * taken / dims.rows_per_head().max(1);
    let bytes = weights + 4 * tokens * heads * (taken + rank);
    Cost { multiply_adds: (tokens * heads * taken * rank) as u64, ..Cost::streaming(bytes) }
}

/// `y[token, head] = Σ_i q[token, head, i] w[row i of the head]` over the part without position, and behind it what
/// is left of the query: `[token, head, rank | rest]`, where `q` is `[token, head, width]`.
pub(super) fn absorb(
    cpu: &Cpu,
    (q, width): (&[f32], usize),
    tokens: usize,
    w: &Weight,
    dims: LatentDims,
) -> Vec<f32> {
    let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
    let nope = dims.qk_nope_head_dim;
    let wide = rank + width - nope;
    let mut y = vec![0.0; tokens * heads * wide];
    let parts = Parts::new(&mut y);
    cpu.pool().run(heads, &|head| {
        let of_head = |token: usize| &q[(token * heads + head) * width..][..width];
        let absorbed = Rows::pack(nope, (0..tokens).map(|token| &of_head(token)[..nope]));
        let mut sums = Rows::zeros(tokens, rank);
        add_rows(cpu, &absorbed, w, head * dims.rows_per_head(), &mut sums);
        for token in 0..tokens {
            let at = (token * heads + head) * wide;
            // SAFETY: a head's results belong to its task.
            let to = unsafe { parts.part(at..at + wide) };
            to[..rank].copy_from_slice(&sums.row(token)[..rank]);
            to[rank..].copy_from_slice(&of_head(token)[nope..]);
        }
    });
    y
}

/// Row `first + i` of `w` times element `i` of each query, added up over all `i`: the query's sums.
fn add_rows(cpu: &Cpu, q: &Rows, w: &Weight, first: usize, sums: &mut Rows) {
    let readable = |scale: &BlockScale| {
        let whole_vectors = scale.block[1].is_multiple_of(LANES) || scale.block[1] >= w.cols();
        // The unit of e4m3 must fit into its scales.
        whole_vectors && w.largest_scale() <= f32::MAX / E4m3::UNIT
    };
    let direct = w.dtype() != Dtype::F64 && w.scale().is_none_or(readable);
    let decoded;
    let (w, first) = if direct {
        (w, first)
    } else {
        let mut values = vec![0.0_f32; q.width() * w.cols()];
        for (i, row) in values.chunks_exact_mut(w.cols().max(1)).enumerate() {
            w.decode_row(first + i, row);
        }
        let shape = [q.width(), w.cols()];
        decoded = Weight::encode(Dtype::F32, shape, &values).expect("as many values as its shape");
        (&decoded, 0)
    };
    let rows = AddRows { q, w, first, sums };
    match w.dtype() {
        Dtype::Bf16 => cpu.isa().run(Of::<Bf16>(rows, PhantomData)),
        Dtype::F16 => cpu.isa().run(Of::<F16>(rows, PhantomData)),
        Dtype::F8E4m3 => cpu.isa().run(Of::<E4m3>(rows, PhantomData)),
        Dtype::I8 => cpu.isa().run(Of::<I8>(rows, PhantomData)),
        Dtype::F32 | Dtype::F64 => cpu.isa().run(Of::<F32>(rows, PhantomData)),
    }
}

/// How many rows ahead weights are asked for.
const AHEAD: usize = 8;

/// Rows of weights, each times an element of every query, added up from the first to the last.
struct AddRows<'a> {
    q: &'a Rows,
    w: &'a Weight,
    first: usize,
    sums: &'a mut Rows,
}

/// The same, of a stored type.
struct Of<'a, E>(AddRows<'a>, PhantomData<E>);

impl<E: Element> Kernel for Of<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let (whole, vectors) = (self.0.w.cols() / LANES, self.0.w.cols().div_ceil(LANES));
        for token in 0..self.0.q.len() {
            let mut at = 0;
            while at < vectors {
                // SAFETY: by the contract of the trait; sums have whole vectors.
                at += unsafe {
                    match whole.saturating_sub(at) {
                        16.. if S::ROWS >= 6 => self.columns::<S, 16>(token, at),
                        4.. => self.columns::<S, 4>(token, at),
                        _ => self.columns::<S, 1>(token, at),
                    }
                };
            }
        }
    }
}

impl<E: Element> Of<'_, E> {
    /// The sums of `N` vectors of columns of a token, from vector `at` on: `N` is 1 where the last is not whole.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and there are such vectors.
    #[inline(always)]
    unsafe fn columns<S: Simd, const N: usize>(&mut self, token: usize, at: usize) -> usize {
        let AddRows { q, w, first, sums } = &mut self.0;
        let row_bytes = w.cols() * E::BYTES;
        let stored = &w.bytes().as_slice()[*first * row_bytes..][..q.width() * row_bytes];
        let n = (w.cols() - at * LANES).min(LANES);
        // One scale for all where there is none of its own.
        let (scales, across, height, vectors) = match w.scale() {
            Some(s) => {
                let across = w.cols().div_ceil(s.block[1]);
                (&s.values[..], across, s.block[0], s.block[1].div_ceil(LANES))
            }
            None => (&[1.0][..], 0, usize::MAX, usize::MAX),
        };
        let mut block = [0; N];
        for i in 0..N {
            block[i] = (at + i) / vectors;
        }
        let (x, to) = (q.row(token), sums.row_mut(token)[at * LANES..].as_mut_ptr());
        // SAFETY: by the contract of this function; each row has `n` elements in its last vector.
        unsafe {
            let mut open = [S::splat(0.0); N];
            for row in 0..q.width() {
                let from = stored.as_ptr().add(row * row_bytes + at * LANES * E::BYTES);
                let of_rows = (*first + row) / height * across;
                let x = S::splat(x[row]);
                for i in 0..N {
                    let here = from.add(i * LANES * E::BYTES);
                    S::prefetch_far(here.wrapping_add(AHEAD * row_bytes));
                    let v = if N == 1 && n < LANES {
                        E::load_first::<S>(here, n)
                    } else {
                        E::load::<S>(here)
                    };
                    let v = S::mul(v, S::splat(scales[of_rows + block[i]] * E::UNIT));
                    open[i] = S::fma(x, v, open[i]);
                }
            }
            for i in 0..N {
                S::store(to.add(i * LANES), open[i]);
            }
        }
        N
    }
}

/// `y[token, head, i] = w[row i of the head's values] · x[token, head]`: `[token, head, v]`.
pub(super) fn expand(
    cpu: &Cpu,
    x: &[f32],
    tokens: usize,
    w: &Weight,
    dims: LatentDims,
) -> Vec<f32> {
    let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, v_head_dim, .. } = dims;
    let mut y = vec![0.0; tokens * heads * v_head_dim];
    let parts = Parts::new(&mut y);
    cpu.pool().run(heads, &|head| {
        let of_head = |token: usize| &x[(token * heads + head) * rank..][..rank];
        let rows = Rows::pack(rank, (0..tokens).map(of_head));
        let first = head * dims.rows_per_head() + dims.qk_nope_head_dim;
        product(cpu, &rows, 0..tokens, w, first..first + v_head_dim, &mut |token, output, sums| {
            let at = (token * heads + head) * v_head_dim + output - first;
            // SAFETY: a head's results belong to its task.
            unsafe { parts.part(at..at + sums.len()) }.copy_from_slice(sums);
        });
    });
    y
}
