//! The definition of [`Attend`]: each formula as it stands, over plain slices.

use latent_kernels::linear::{add_scaled, dot};
use latent_kernels::softmax::softmax_in_place;
use latent_kernels::{Backend, KernelError, Reference, Scalar, Weight};
use ndarray::ArrayD;
use rayon::prelude::*;

use super::pages::HostPages;
use super::{
    Attend, LatentDims, RowLayout, check_attend, check_expanded, check_heads, check_kv_b,
    check_rows,
};
use crate::{RowFormat, Slot, Span};

impl<T: Scalar> Attend for Reference<T> {
    /// Rows are held in the scalar, rounded to what their format stores, and counted as it would store
    /// them.
    type Pages = HostPages<T>;
    type KvB = Weight;

    fn kv_b(&self, weight: Weight) -> Result<Weight, KernelError> {
        Ok(weight)
    }

    fn pages(&self, width: usize, format: RowFormat) -> Result<HostPages<T>, KernelError> {
        HostPages::new(width, format, width)
    }

    fn open_page(&self, pages: &mut HostPages<T>, page: usize) -> Result<(), KernelError> {
        pages.open(page, T::nan());
        Ok(())
    }

    fn close_page(&self, pages: &mut HostPages<T>, page: usize) {
        pages.close(page);
    }

    fn copy_page(
        &self,
        pages: &mut HostPages<T>,
        from: usize,
        to: usize,
    ) -> Result<(), KernelError> {
        pages.copy(from, to)
    }

    fn pages_bytes(&self, pages: &HostPages<T>) -> usize {
        pages.bytes(T::BYTES)
    }

    fn write_rows(
        &self,
        pages: &mut HostPages<T>,
        slots: &[Slot],
        rows: &ArrayD<T>,
    ) -> Result<(), KernelError> {
        let width = pages.width;
        check_rows(rows.shape(), slots, width)?;
        for (row, &slot) in elements(rows).chunks_exact(width).zip(slots) {
            let format = pages.format;
            let stored = pages.row_mut(slot)?;
            stored.copy_from_slice(row);
            format.round(stored);
        }
        Ok(())
    }

    fn read_rows(&self, pages: &HostPages<T>, slots: &[Slot]) -> Result<ArrayD<T>, KernelError> {
        let rows: Vec<&[T]> = slots.iter().map(|&s| pages.row(s)).collect::<Result<_, _>>()?;
        self.upload(&rows.concat(), &[slots.len(), pages.width])
    }

    fn attend(
        &self,
        q: &ArrayD<T>,
        pages: &HostPages<T>,
        spans: &[Span],
        layout: RowLayout,
        scale: f64,
    ) -> Result<ArrayD<T>, KernelError> {
        check_attend(q.shape(), pages.width, spans, layout)?;
        let RowLayout { kv_heads, key_dim, value_dim, value_offset } = layout;
        let (tokens, heads) = (q.shape()[0], q.shape()[1]);
        let q = elements(q);
        let mut o = vec![T::zero(); tokens * heads * value_dim]; // [token, head, value_dim]
        for span in spans.iter().filter(|_| heads * value_dim > 0) {
            let rows = pages.rows_of(span)?;
            let of_span =
                &mut o[span.first * heads * value_dim..][..span.tokens * heads * value_dim];
            of_span.par_chunks_exact_mut(heads * value_dim).enumerate().for_each(|(i, o)| {
                let seen = &rows[..=span.start + i];
                for (head, o) in o.chunks_exact_mut(value_dim).enumerate() {
                    let group = head * kv_heads / heads;
                    let q = &q[((span.first + i) * heads + head) * key_dim..][..key_dim];
                    let score = |row: &&[T]| dot(q, &row[group * key_dim..][..key_dim]);
                    let weights = softmax(seen.iter().map(score), T::from_f64(scale));
                    let values =
                        seen.iter().map(|r| &r[value_offset + group * value_dim..][..value_dim]);
                    weighted_sum(&weights, values, o);
                }
            });
        }
        self.upload(&o, &[tokens, heads, value_dim])
    }

    fn attend_expanded(
        &self,
        q: &ArrayD<T>,
        pages: &HostPages<T>,
        spans: &[Span],
        kv_b: &Weight,
        dims: LatentDims,
        scale: f64,
    ) -> Result<ArrayD<T>, KernelError> {
        check_expanded(q.shape(), pages.width, spans, [kv_b.rows(), kv_b.cols()], dims)?;
        let LatentDims { kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim, .. } = dims;
        let (tokens, heads) = (q.shape()[0], dims.num_attention_heads);
        let qk_head_dim = q.shape()[2];
        let rows: Vec<Vec<&[T]>> =
            spans.iter().map(|s| pages.rows_of(s)).collect::<Result<_, _>>()?;
        let q = elements(q);
        let o = by_head(tokens, heads, v_head_dim, |head, o| {
            for (span, rows) in spans.iter().zip(&rows) {
                let kv = expand(rows, kv_b, head, dims); // [key, nope + v]
                let kv: Vec<&[T]> = kv.chunks_exact(dims.rows_per_head().max(1)).collect();
                for (i, token) in span.rows().enumerate() {
                    let seen = span.start + i + 1;
                    let q = &q[(token * heads + head) * qk_head_dim..][..qk_head_dim];
                    let score = |(kv, row): (&&[T], &&[T])| {
                        dot(&q[..nope], &kv[..nope]) + dot(&q[nope..], &row[rank..])
                    };
                    let scores = kv[..seen].iter().zip(&rows[..seen]).map(score);
                    let weights = softmax(scores, T::from_f64(scale));
                    let values = kv[..seen].iter().map(|kv| &kv[nope..]);
                    weighted_sum(&weights, values, &mut o[token * v_head_dim..][..v_head_dim]);
                }
            }
        });
        self.upload(&o, &[tokens, heads, v_head_dim])
    }

    fn absorb_query(
        &self,
        q_nope: &ArrayD<T>,
        kv_b: &Weight,
        dims: LatentDims,
    ) -> Result<ArrayD<T>, KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
        let nope = dims.qk_nope_head_dim;
        let tokens = check_heads("absorb: q_nope", q_nope.shape(), nope, dims)?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        let q = elements(q_nope);
        let absorbed = by_head(tokens, heads, rank, |head, absorbed| {
            let mut w = vec![T::zero(); rank];
            for r in 0..nope {
                kv_b.decode_row(head * dims.rows_per_head() + r, &mut w);
                for (token, absorbed) in absorbed.chunks_exact_mut(rank).enumerate() {
                    add_scaled(absorbed, q[(token * heads + head) * nope + r], &w);
                }
            }
        });
        self.upload(&absorbed, &[tokens, heads, rank])
    }

    fn expand_values(
        &self,
        o_latent: &ArrayD<T>,
        kv_b: &Weight,
        dims: LatentDims,
    ) -> Result<ArrayD<T>, KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, v_head_dim, .. } = dims;
        let tokens = check_heads("expand: o_latent", o_latent.shape(), rank, dims)?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        let o_latent = elements(o_latent);
        let o = by_head(tokens, heads, v_head_dim, |head, o| {
            let mut w = vec![T::zero(); rank];
            for r in 0..v_head_dim {
                kv_b.decode_row(head * dims.rows_per_head() + dims.qk_nope_head_dim + r, &mut w);
                for (token, o) in o.chunks_exact_mut(v_head_dim).enumerate() {
                    o[r] = dot(&o_latent[(token * heads + head) * rank..][..rank], &w);
                }
            }
        });
        self.upload(&o, &[tokens, heads, v_head_dim])
    }
}

/// One head's keys and values of each latent, `[key, nope + v]`.
pub(crate) fn expand<T: Scalar>(
    rows: &[&[T]],
    kv_b: &Weight,
    head: usize,
    dims: LatentDims,
) -> Vec<T> {
    let (rank, width) = (dims.kv_lora_rank, dims.rows_per_head());
    let mut w = vec![T::zero(); rank];
    let mut kv = vec![T::zero(); rows.len() * width];
    for r in 0..width {
        kv_b.decode_row(head * width + r, &mut w);
        for (kv, row) in kv.chunks_exact_mut(width).zip(rows) {
            kv[r] = dot(&row[..rank], &w);
        }
    }
    kv
}

/// Lets `f(head, result)` fill `[token, dim]` for each head, in parallel, and gives
/// `[token, head, dim]`.
pub(crate) fn by_head<T: Scalar>(
    tokens: usize,
    heads: usize,
    dim: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) -> Vec<T> {
    let of_heads: Vec<Vec<T>> = (0..heads)
        .into_par_iter()
        .map(|head| {
            let mut of_head = vec![T::zero(); tokens * dim];
            f(head, &mut of_head);
            of_head
        })
        .collect();
    interleaved(&of_heads, tokens, dim)
}

/// `[token, dim]` of each head as `[token, head, dim]`.
pub(crate) fn interleaved<T: Scalar>(of_heads: &[Vec<T>], tokens: usize, dim: usize) -> Vec<T> {
    let mut all = Vec::with_capacity(tokens * of_heads.len() * dim);
    for token in 0..tokens {
        for of_head in of_heads {
            all.extend_from_slice(&of_head[token * dim..][..dim]);
        }
    }
    all
}

/// The softmax of `scores * scale`, summed in order; nothing gives nothing.
pub(crate) fn softmax<T: Scalar>(scores: impl Iterator<Item = T>, scale: T) -> Vec<T> {
    let mut weights: Vec<T> = scores.map(|s| s * scale).collect();
    softmax_in_place(&mut weights);
    weights
}

fn weighted_sum<'a, T: Scalar>(weights: &[T], values: impl Iterator<Item = &'a [T]>, o: &mut [T]) {
    o.fill(T::zero());
    for (&w, value) in weights.iter().zip(values) {
        add_scaled(o, w, value);
    }
}

/// The elements of an array, last axis fastest.
pub(crate) fn elements<T>(x: &ArrayD<T>) -> &[T] {
    x.as_slice().expect("arrays of the host are in standard layout")
}
