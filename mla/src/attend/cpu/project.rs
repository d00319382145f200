//! Products with each head's part of `kv_b`.

use latent_kernels::cpu::{Bf16, Cpu, E4m3, Element, F16, F32, Kernel, LANES, Parts, Rows, Simd};
use latent_kernels::linear::cpu::product;
use latent_kernels::{Cost, Dtype, Weight};

use crate::LatentDims;

/// What products with `taken` rows of each head cost.
pub(super) fn cost(w: &Weight, dims: LatentDims, tokens: usize, taken: usize) -> Cost {
    let (heads, rank) = (dims.num_attention_heads, dims.kv_lora_rank);
    let weights = w.stored_bytes() * taken / dims.rows_per_head().max(1);
    let bytes = weights + 4 * tokens * heads * (taken + rank);
    Cost { multiply_adds: (tokens * heads * taken * rank) as u64, ..Cost::streaming(bytes) }
}

/// The weights of a head's key rows, widened: `[row, rank]`.
fn widened(w: &Weight, first: usize, rows: usize) -> Vec<f32> {
    let mut wide = vec![0.0; rows * w.cols()];
    for (i, wide) in wide.chunks_exact_mut(w.cols().max(1)).enumerate() {
        w.decode_row(first + i, wide);
    }
    wide
}

/// `y[token, head] = Σ_i q[token, head, i] w[row i of the head]`: `[token, head, rank]`.
pub(super) fn absorb(
    cpu: &Cpu,
    q: &[f32],
    tokens: usize,
    w: &Weight,
    dims: LatentDims,
) -> Vec<f32> {
    let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
    let nope = dims.qk_nope_head_dim;
    let mut y = vec![0.0; tokens * heads * rank];
    let parts = Parts::new(&mut y);
    cpu.pool().run(heads, &|head| {
        let first = head * dims.rows_per_head();
        let wide;
        let (bytes, dtype) = if w.scale().is_none() && w.dtype() != Dtype::F64 {
            (w.bytes().as_slice(), w.dtype())
        } else {
            let values = widened(w, first, nope);
            wide = values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
            (&wide[..], Dtype::F32)
        };
        let first = if dtype == w.dtype() && w.scale().is_none() { first } else { 0 };
        let mut q_rows = Rows::zeros(tokens, nope);
        for token in 0..tokens {
            q_rows.row_mut(token)[..nope]
                .copy_from_slice(&q[(token * heads + head) * nope..][..nope]);
        }
        let mut sums = Rows::zeros(tokens, rank);
        let rows = Weighted { q: &q_rows, bytes, first, nope, rank, sums: &mut sums };
        match dtype {
            Dtype::Bf16 => cpu.isa().run(Of::<Bf16>(rows, std::marker::PhantomData)),
            Dtype::F16 => cpu.isa().run(Of::<F16>(rows, std::marker::PhantomData)),
            Dtype::F8E4m3 => cpu.isa().run(Of::<E4m3>(rows, std::marker::PhantomData)),
            _ => cpu.isa().run(Of::<F32>(rows, std::marker::PhantomData)),
        }
        for token in 0..tokens {
            let at = (token * heads + head) * rank;
            // SAFETY: a head's results belong to its task.
            let to = unsafe { parts.part(at..at + rank) };
            to.copy_from_slice(&sums.row(token)[..rank]);
        }
    });
    y
}

/// Rows of weights, each times an element of every query, added up from the first to the last.
struct Weighted<'a> {
    q: &'a Rows,
    bytes: &'a [u8],
    first: usize,
    nope: usize,
    rank: usize,
    sums: &'a mut Rows,
}

/// The same, of a stored type.
struct Of<'a, E>(Weighted<'a>, std::marker::PhantomData<E>);

impl<E: Element> Kernel for Of<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let w = self.0;
        let (whole, rest) = (w.rank / LANES, w.rank % LANES);
        assert!(w.bytes.len() >= (w.first + w.nope) * w.rank * E::BYTES, "rows of weights");
        for row in 0..w.nope {
            let from = w.bytes[(w.first + row) * w.rank * E::BYTES..].as_ptr();
            // Four vectors at a time meet all queries while they are in registers.
            let mut at = 0;
            while at < whole + usize::from(rest > 0) {
                // SAFETY: the row has the vectors that are read, and sums have whole ones.
                unsafe {
                    let here = from.add(at * LANES * E::BYTES);
                    let v = if at < whole {
                        E::load::<S>(here)
                    } else {
                        E::load_first::<S>(here, rest)
                    };
                    let v = S::mul(v, S::splat(E::UNIT));
                    for token in 0..w.q.len() {
                        let q = S::splat(w.q.row(token)[row]);
                        let sum = w.sums.row_mut(token).as_mut_ptr().add(at * LANES);
                        S::store(sum, S::fma(q, v, S::load(sum)));
                    }
                }
                at += 1;
            }
        }
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
        let mut rows = Rows::zeros(tokens, rank);
        for token in 0..tokens {
            rows.row_mut(token)[..rank]
                .copy_from_slice(&x[(token * heads + head) * rank..][..rank]);
        }
        let first = head * dims.rows_per_head() + dims.qk_nope_head_dim;
        product(cpu, &rows, 0..tokens, w, first..first + v_head_dim, |token, output, sum| {
            // SAFETY: a head's results belong to its task.
            unsafe { parts.write((token * heads + head) * v_head_dim + output - first, sum) };
        });
    });
    y
}
