//! The definition of [`AttendBackward`]: each formula as it stands, over plain slices.

use latent_kernels::linear::{add_scaled, dot};
use latent_kernels::softmax::softmax_backward_in_place;
use latent_kernels::{Backend, KernelError, Reference, Scalar, Weight};
use ndarray::ArrayD;
use rayon::prelude::*;

use super::{AttendBackward, check_attend_backward, check_expanded_backward};
use crate::attend::pages::HostPages;
use crate::attend::reference::{by_head, elements, expand, interleaved, softmax};
use crate::attend::{check_heads, check_kv_b};
use crate::{LatentDims, RowLayout, Span};

impl<T: Scalar> AttendBackward for Reference<T> {
    fn attend_backward(
        &self,
        q: &ArrayD<T>,
        pages: &HostPages<T>,
        spans: &[Span],
        layout: RowLayout,
        scale: f64,
        d_o: &ArrayD<T>,
    ) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
        let width = pages.width;
        check_attend_backward(q.shape(), width, spans, layout, d_o.shape())?;
        let RowLayout { kv_heads, key_dim, value_dim, value_offset } = layout;
        let (tokens, heads) = (q.shape()[0], q.shape()[1]);
        let rows = of_spans(pages, spans)?;
        let (q, d_o) = (elements(q), elements(d_o));
        let of_heads: Vec<(Vec<T>, Vec<T>)> = (0..heads)
            .into_par_iter()
            .map(|head| {
                let group = head * kv_heads / heads;
                let key = group * key_dim..(group + 1) * key_dim;
                let value =
                    value_offset + group * value_dim..value_offset + (group + 1) * value_dim;
                let mut dq = vec![T::zero(); tokens * key_dim];
                let mut d_rows = vec![T::zero(); tokens * width];
                for (span, rows) in spans.iter().zip(&rows) {
                    let d_rows = &mut d_rows[span.first * width..][..span.tokens * width];
                    for (i, token) in span.rows().enumerate() {
                        let q = &q[(token * heads + head) * key_dim..][..key_dim];
                        let d_o = &d_o[(token * heads + head) * value_dim..][..value_dim];
                        let seen = &rows[..=i];
                        let scores = seen.iter().map(|row| dot(q, &row[key.clone()]));
                        let values = seen.iter().map(|row| &row[value.clone()]);
                        let (p, ds) = weights(scores, values, scale, d_o);
                        let dq = &mut dq[token * key_dim..][..key_dim];
                        let seen = seen.iter().zip(d_rows.chunks_exact_mut(width));
                        for ((row, d_row), (&p, &ds)) in seen.zip(p.iter().zip(&ds)) {
                            add_scaled(dq, ds, &row[key.clone()]);
                            add_scaled(&mut d_row[key.clone()], ds, q);
                            add_scaled(&mut d_row[value.clone()], p, d_o);
                        }
                    }
                }
                (dq, d_rows)
            })
            .collect();
        let (dq, d_rows): (Vec<_>, Vec<_>) = of_heads.into_iter().unzip();
        Ok((
            self.upload(&interleaved(&dq, tokens, key_dim), &[tokens, heads, key_dim])?,
            self.upload(&sum(&d_rows, tokens * width), &[tokens, width])?,
        ))
    }

    fn attend_expanded_backward(
        &self,
        q: &ArrayD<T>,
        pages: &HostPages<T>,
        spans: &[Span],
        kv_b: &Weight,
        dims: LatentDims,
        scale: f64,
        d_o: &ArrayD<T>,
    ) -> Result<[ArrayD<T>; 3], KernelError> {
        let (width, kv_b_shape) = (pages.width, [kv_b.rows(), kv_b.cols()]);
        check_expanded_backward(q.shape(), width, spans, kv_b_shape, dims, d_o.shape())?;
        let LatentDims { kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim, .. } = dims;
        let (tokens, heads, dim) = (q.shape()[0], dims.num_attention_heads, q.shape()[2]);
        let rows = of_spans(pages, spans)?;
        let (q, d_o) = (elements(q), elements(d_o));
        let of_heads: Vec<[Vec<T>; 3]> = (0..heads)
            .into_par_iter()
            .map(|head| {
                let mut dq = vec![T::zero(); tokens * dim];
                let mut d_rows = vec![T::zero(); tokens * width];
                let mut dw = vec![T::zero(); dims.rows_per_head() * rank];
                for (span, rows) in spans.iter().zip(&rows) {
                    let d_rows = &mut d_rows[span.first * width..][..span.tokens * width];
                    let kv = expand(rows, kv_b, head, dims); // [key, nope + v]
                    let kv: Vec<&[T]> = kv.chunks_exact(dims.rows_per_head()).collect();
                    let mut d_kv = vec![T::zero(); span.tokens * dims.rows_per_head()];
                    for (i, token) in span.rows().enumerate() {
                        let q = &q[(token * heads + head) * dim..][..dim];
                        let d_o = &d_o[(token * heads + head) * v_head_dim..][..v_head_dim];
                        let seen = kv[..=i].iter().zip(&rows[..=i]);
                        let scores = seen.clone().map(|(kv, row)| {
                            dot(&q[..nope], &kv[..nope]) + dot(&q[nope..], &row[rank..])
                        });
                        let values = kv[..=i].iter().map(|kv| &kv[nope..]);
                        let (p, ds) = weights(scores, values, scale, d_o);
                        let dq = &mut dq[token * dim..][..dim];
                        for (j, (kv, row)) in seen.enumerate() {
                            add_scaled(&mut dq[..nope], ds[j], &kv[..nope]);
                            add_scaled(&mut dq[nope..], ds[j], &row[rank..]);
                            let d_kv =
                                &mut d_kv[j * dims.rows_per_head()..][..dims.rows_per_head()];
                            add_scaled(&mut d_kv[..nope], ds[j], &q[..nope]);
                            add_scaled(&mut d_kv[nope..], p[j], d_o);
                            add_scaled(
                                &mut d_rows[j * width + rank..][..width - rank],
                                ds[j],
                                &q[nope..],
                            );
                        }
                    }
                    expand_backward(rows, kv_b, head, dims, &d_kv, d_rows, &mut dw);
                }
                [dq, d_rows, dw]
            })
            .collect();
        let part = |i: usize| of_heads.iter().map(|head| head[i].clone()).collect::<Vec<_>>();
        Ok([
            self.upload(&interleaved(&part(0), tokens, dim), &[tokens, heads, dim])?,
            self.upload(&sum(&part(1), tokens * width), &[tokens, width])?,
            self.upload(&part(2).concat(), &dims.kv_b_shape())?,
        ])
    }

    fn absorbed_query_backward(
        &self,
        q: &ArrayD<T>,
        kv_b: &Weight,
        dims: LatentDims,
        d_absorbed: &ArrayD<T>,
    ) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
        let (nope, rope) = (dims.qk_nope_head_dim, dims.qk_rope_head_dim);
        let tokens = check_heads("absorb: q", q.shape(), nope + rope, dims)?;
        KernelError::check_shape(
            "absorb: d_absorbed",
            d_absorbed.shape(),
            &[tokens, heads, rank + rope],
        )?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        let (q, d) = (elements(q), elements(d_absorbed));
        let dq = by_head(tokens, heads, nope + rope, |head, dq| {
            let mut w = vec![T::zero(); rank];
            for r in 0..nope {
                kv_b.decode_row(head * dims.rows_per_head() + r, &mut w);
                for token in 0..tokens {
                    let d = &d[(token * heads + head) * (rank + rope)..][..rank];
                    dq[token * (nope + rope) + r] = dot(d, &w);
                }
            }
            for token in 0..tokens {
                let d = &d[(token * heads + head) * (rank + rope)..][..rank + rope];
                dq[token * (nope + rope) + nope..][..rope].copy_from_slice(&d[rank..]);
            }
        });
        let mut dw = vec![T::zero(); dims.kv_b_shape().iter().product()];
        for (head, dw) in dw.chunks_exact_mut(dims.rows_per_head() * rank).enumerate() {
            for (token, r) in (0..tokens).flat_map(|token| (0..nope).map(move |r| (token, r))) {
                let q = q[(token * heads + head) * (nope + rope) + r];
                let d = &d[(token * heads + head) * (rank + rope)..][..rank];
                add_scaled(&mut dw[r * rank..][..rank], q, d);
            }
        }
        Ok((
            self.upload(&dq, &[tokens, heads, nope + rope])?,
            self.upload(&dw, &dims.kv_b_shape())?,
        ))
    }

    fn expand_values_backward(
        &self,
        o_latent: &ArrayD<T>,
        kv_b: &Weight,
        dims: LatentDims,
        d_o: &ArrayD<T>,
    ) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, v_head_dim, .. } = dims;
        let nope = dims.qk_nope_head_dim;
        let tokens = check_heads("expand: o_latent", o_latent.shape(), rank, dims)?;
        KernelError::check_shape("expand: d_o", d_o.shape(), &[tokens, heads, v_head_dim])?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        let (o, d) = (elements(o_latent), elements(d_o));
        let d_latent = by_head(tokens, heads, rank, |head, d_latent| {
            let mut w = vec![T::zero(); rank];
            for r in 0..v_head_dim {
                kv_b.decode_row(head * dims.rows_per_head() + nope + r, &mut w);
                for (token, d_latent) in d_latent.chunks_exact_mut(rank).enumerate() {
                    add_scaled(d_latent, d[(token * heads + head) * v_head_dim + r], &w);
                }
            }
        });
        let mut dw = vec![T::zero(); dims.kv_b_shape().iter().product()];
        for (head, dw) in dw.chunks_exact_mut(dims.rows_per_head() * rank).enumerate() {
            for (token, r) in (0..tokens).flat_map(|token| (0..v_head_dim).map(move |r| (token, r)))
            {
                let d = d[(token * heads + head) * v_head_dim + r];
                let o = &o[(token * heads + head) * rank..][..rank];
                add_scaled(&mut dw[(nope + r) * rank..][..rank], d, o);
            }
        }
        Ok((self.upload(&d_latent, &[tokens, heads, rank])?, self.upload(&dw, &dims.kv_b_shape())?))
    }
}

/// The rows of each span.
fn of_spans<'a, T: Scalar>(
    pages: &'a HostPages<T>,
    spans: &[Span],
) -> Result<Vec<Vec<&'a [T]>>, KernelError> {
    spans.iter().map(|span| pages.rows_of(span)).collect()
}

/// The weights of one token's attention, and the gradient by the scores before their scale.
fn weights<'a, T: Scalar>(
    scores: impl Iterator<Item = T>,
    values: impl Iterator<Item = &'a [T]>,
    scale: f64,
    d_o: &[T],
) -> (Vec<T>, Vec<T>) {
    let p = softmax(scores, T::from_f64(scale));
    let mut ds: Vec<T> = values.map(|value| dot(d_o, value)).collect();
    softmax_backward_in_place(&p, &mut ds);
    ds.iter_mut().for_each(|ds| *ds *= T::from_f64(scale));
    (p, ds)
}

/// Adds what one head's keys and values `[key, nope + v]` got to the latents of their rows, and to the
/// head's part of `kv_b`.
fn expand_backward<T: Scalar>(
    rows: &[&[T]],
    kv_b: &Weight,
    head: usize,
    dims: LatentDims,
    d_kv: &[T],
    d_rows: &mut [T],
    dw: &mut [T],
) {
    let (rank, per_head) = (dims.kv_lora_rank, dims.rows_per_head());
    let width = rank + dims.qk_rope_head_dim;
    let mut w = vec![T::zero(); rank];
    for r in 0..per_head {
        kv_b.decode_row(head * per_head + r, &mut w);
        let each = d_kv.chunks_exact(per_head).zip(rows).zip(d_rows.chunks_exact_mut(width));
        for ((d_kv, row), d_row) in each {
            add_scaled(&mut d_row[..rank], d_kv[r], &w);
            add_scaled(&mut dw[r * rank..][..rank], d_kv[r], &row[..rank]);
        }
    }
}

/// The sum of what each head has, in their order.
fn sum<T: Scalar>(of_heads: &[Vec<T>], elements: usize) -> Vec<T> {
    let mut sum = vec![T::zero(); elements];
    for of_head in of_heads {
        add_scaled(&mut sum, T::one(), of_head);
    }
    sum
}
