//! [`AttendBackward`] on this processor: each task is a head of a sequence, in `f32`.

#![expect(
    unsafe_code,
    reason = "vector instructions and shared results; each block says why it is sound"
)]

use std::ops::Range;

use latent_kernels::cpu::{Cpu, CpuMatrix, Parts, View, add_matmul};
use latent_kernels::{Backend, Backward, KernelError, Weight};
use ndarray::ArrayD;

use super::{AttendBackward, check_attend_backward, check_expanded_backward};
use crate::attend::cpu::array;
use crate::attend::pages::HostPages;
use crate::attend::reference::elements;
use crate::attend::{check_heads, check_kv_b};
use crate::{Attend, LatentDims, RowLayout, Span};

mod head;

use head::{Head, transposed};

impl AttendBackward for Cpu {
    fn attend_backward(
        &self,
        q: &ArrayD<f32>,
        pages: &HostPages<u8>,
        spans: &[Span],
        layout: RowLayout,
        scale: f64,
        d_o: &ArrayD<f32>,
    ) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
        let width = pages.width;
        check_attend_backward(q.shape(), width, spans, layout, d_o.shape())?;
        let RowLayout { kv_heads, key_dim, value_dim, value_offset } = layout;
        let (tokens, heads) = (q.shape()[0], q.shape()[1]);
        let rows = cached(self, pages, spans)?;
        let group = |head: usize| head * kv_heads / heads;
        let mut dq = vec![0.0; tokens * heads * key_dim];
        let of_q = Parts::new(&mut dq);
        let heads_of = by_heads(self, spans, heads, |span, head| {
            let key = group(head) * key_dim;
            let value = value_offset + group(head) * value_dim;
            let rows = &rows[span.first * width..];
            let gradients_of = Head {
                tokens: span.tokens,
                q: of_head(elements(q), span, (heads, head), key_dim),
                k: View::rows(&rows[key..], width),
                v: View::rows(&rows[value..], width),
                d_o: of_head(elements(d_o), span, (heads, head), value_dim),
                dims: [key_dim, value_dim],
                scale,
            };
            let of_head = gradients_of.backward(self);
            // SAFETY: a head of a sequence is one task.
            unsafe { put(&of_q, span, (heads, head), key_dim, 0..key_dim, &of_head.dq) };
            of_head
        });
        let mut d_rows = vec![0.0; tokens * width];
        for ((span, head), of_head) in heads_of {
            let (key, value) = (group(head) * key_dim, value_offset + group(head) * value_dim);
            let d_rows = &mut d_rows[span.first * width..];
            add_columns(d_rows, width, key..key + key_dim, &of_head.dk);
            add_columns(d_rows, width, value..value + value_dim, &of_head.dv);
        }
        Ok((array(dq, &[tokens, heads, key_dim]), array(d_rows, &[tokens, width])))
    }

    fn attend_expanded_backward(
        &self,
        q: &ArrayD<f32>,
        pages: &HostPages<u8>,
        spans: &[Span],
        kv_b: &Weight,
        dims: LatentDims,
        scale: f64,
        d_o: &ArrayD<f32>,
    ) -> Result<[ArrayD<f32>; 3], KernelError> {
        let (width, kv_b_shape) = (pages.width, [kv_b.rows(), kv_b.cols()]);
        check_expanded_backward(q.shape(), width, spans, kv_b_shape, dims, d_o.shape())?;
        let LatentDims { kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim, .. } = dims;
        let (tokens, heads, key_dim) = (q.shape()[0], dims.num_attention_heads, q.shape()[2]);
        let rows = cached(self, pages, spans)?;
        let latents = array(columns(&rows, tokens, width, 0..rank), &[tokens, rank]);
        let matrix = CpuMatrix::Stored(kv_b.clone());
        let kv = self.linear(&latents, &matrix)?; // [token, head * (nope + v)]
        let (per_head, all) = (dims.rows_per_head(), heads * dims.rows_per_head());
        let mut dq = vec![0.0; tokens * heads * key_dim];
        let mut d_kv = vec![0.0; tokens * all];
        let (of_q, of_kv) = (Parts::new(&mut dq), Parts::new(&mut d_kv));
        let heads_of = by_heads(self, spans, heads, |span, head| {
            let kv = &elements(&kv)[span.first * all..];
            let at = head * per_head;
            let rows = &rows[span.first * width..];
            // Nothing turned by rotation is in `kv`: it is one for all heads.
            let mut k = Vec::with_capacity(span.tokens * key_dim);
            for (kv, row) in kv.chunks_exact(all).zip(rows.chunks_exact(width)).take(span.tokens) {
                k.extend_from_slice(&kv[at..at + nope]);
                k.extend_from_slice(&row[rank..]);
            }
            let gradients_of = Head {
                tokens: span.tokens,
                q: of_head(elements(q), span, (heads, head), key_dim),
                k: View::rows(&k, key_dim),
                v: View::rows(&kv[at + nope..], all),
                d_o: of_head(elements(d_o), span, (heads, head), v_head_dim),
                dims: [key_dim, v_head_dim],
                scale,
            };
            let of_head = gradients_of.backward(self);
            let d_nope = columns(&of_head.dk, span.tokens, key_dim, 0..nope);
            // SAFETY: a head of a sequence is one task.
            unsafe {
                put(&of_q, span, (heads, head), key_dim, 0..key_dim, &of_head.dq);
                put(&of_kv, span, (heads, head), per_head, 0..nope, &d_nope);
                put(&of_kv, span, (heads, head), per_head, nope..per_head, &of_head.dv);
            }
            columns(&of_head.dk, span.tokens, key_dim, nope..key_dim)
        });
        let mut d_rows = vec![0.0; tokens * width];
        for ((span, _), d_rope) in heads_of {
            add_columns(&mut d_rows[span.first * width..], width, rank..width, &d_rope);
        }
        let d_kv = array(d_kv, &[tokens, all]);
        let d_latents = self.linear_grad_input(&d_kv, &matrix)?;
        add_columns(&mut d_rows, width, 0..rank, elements(&d_latents));
        Ok([
            array(dq, &[tokens, heads, key_dim]),
            array(d_rows, &[tokens, width]),
            self.linear_grad_weight(&latents, &d_kv, &matrix)?,
        ])
    }

    fn absorbed_query_backward(
        &self,
        q: &ArrayD<f32>,
        kv_b: &Weight,
        dims: LatentDims,
        d_absorbed: &ArrayD<f32>,
    ) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
        let (nope, rope) = (dims.qk_nope_head_dim, dims.qk_rope_head_dim);
        let tokens = check_heads("absorb: q", q.shape(), nope + rope, dims)?;
        KernelError::check_shape(
            "absorb: d_absorbed",
            d_absorbed.shape(),
            &[tokens, heads, rank + rope],
        )?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        let w: Vec<f32> = kv_b.decode();
        let all = whole(tokens);
        let heads_of = of_heads(self, heads, |head| {
            let w = &w[head * dims.rows_per_head() * rank..][..nope * rank];
            let q = of_head(elements(q), &all, (heads, head), nope + rope);
            let d = of_head(elements(d_absorbed), &all, (heads, head), rank + rope);
            // dq = d wᵀ, dw = qᵀ d
            let mut dq = vec![0.0; tokens * nope];
            let across = transposed(self, View::rows(w, rank), [nope, rank]);
            add_matmul(self, d, (&across, nope), (&mut dq, nope), [tokens, rank, nope]);
            let mut dw = vec![0.0; nope * rank];
            let sizes = [nope, tokens, rank];
            add_matmul(self, q.transposed(), (d.values, d.row), (&mut dw, rank), sizes);
            (dq, dw)
        });
        let mut dq = vec![0.0; tokens * heads * (nope + rope)];
        let mut dw = vec![0.0; w.len()];
        let parts = Parts::new(&mut dq);
        for (head, (of_q, of_w)) in heads_of.into_iter().enumerate() {
            let width = rank + rope;
            let rotated = head * width + rank..(head + 1) * width;
            let rotated = columns(elements(d_absorbed), tokens, heads * width, rotated);
            // SAFETY: no other thread is at work.
            unsafe {
                put(&parts, &all, (heads, head), nope + rope, 0..nope, &of_q);
                put(&parts, &all, (heads, head), nope + rope, nope..nope + rope, &rotated);
            }
            dw[head * dims.rows_per_head() * rank..][..of_w.len()].copy_from_slice(&of_w);
        }
        Ok((array(dq, &[tokens, heads, nope + rope]), array(dw, &dims.kv_b_shape())))
    }

    fn expand_values_backward(
        &self,
        o_latent: &ArrayD<f32>,
        kv_b: &Weight,
        dims: LatentDims,
        d_o: &ArrayD<f32>,
    ) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, v_head_dim, .. } = dims;
        let tokens = check_heads("expand: o_latent", o_latent.shape(), rank, dims)?;
        KernelError::check_shape("expand: d_o", d_o.shape(), &[tokens, heads, v_head_dim])?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        let w: Vec<f32> = kv_b.decode();
        let (all, first) = (whole(tokens), dims.qk_nope_head_dim);
        let heads_of = of_heads(self, heads, |head| {
            let w = &w[(head * dims.rows_per_head() + first) * rank..][..v_head_dim * rank];
            let o = of_head(elements(o_latent), &all, (heads, head), rank);
            let d = of_head(elements(d_o), &all, (heads, head), v_head_dim);
            // do_latent = d w, dw = dᵀ o
            let mut d_latent = vec![0.0; tokens * rank];
            let sizes = [tokens, v_head_dim, rank];
            add_matmul(self, d, (w, rank), (&mut d_latent, rank), sizes);
            let mut dw = vec![0.0; v_head_dim * rank];
            let sizes = [v_head_dim, tokens, rank];
            add_matmul(self, d.transposed(), (o.values, o.row), (&mut dw, rank), sizes);
            (d_latent, dw)
        });
        let mut d_latent = vec![0.0; tokens * heads * rank];
        let mut dw = vec![0.0; w.len()];
        let parts = Parts::new(&mut d_latent);
        for (head, (of_latent, of_w)) in heads_of.into_iter().enumerate() {
            // SAFETY: no other thread is at work.
            unsafe { put(&parts, &all, (heads, head), rank, 0..rank, &of_latent) };
            let at = (head * dims.rows_per_head() + first) * rank;
            dw[at..][..of_w.len()].copy_from_slice(&of_w);
        }
        Ok((array(d_latent, &[tokens, heads, rank]), array(dw, &dims.kv_b_shape())))
    }
}

/// All tokens of a batch, as if they were one sequence.
fn whole(tokens: usize) -> Span {
    Span { first: 0, tokens, start: 0, pages: Vec::new() }
}

/// The cached rows of whole sequences, `[token, width]`.
fn cached(cpu: &Cpu, pages: &HostPages<u8>, spans: &[Span]) -> Result<Vec<f32>, KernelError> {
    let slots: Vec<_> =
        spans.iter().flat_map(|span| (0..span.tokens).map(|i| span.slot(i))).collect();
    cpu.download(&cpu.read_rows(pages, &slots)?)
}

/// What `f` makes of each head, by all threads.
fn of_heads<R: Send>(cpu: &Cpu, heads: usize, f: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let mut results: Vec<Option<R>> = (0..heads).map(|_| None).collect();
    let parts = Parts::new(&mut results);
    cpu.pool().run(heads, &|head| {
        // SAFETY: each result belongs to one task.
        let result = unsafe { parts.part(head..head + 1) };
        result[0] = Some(f(head));
    });
    results.into_iter().map(|result| result.expect("every task has run")).collect()
}

/// What `of` makes of each head of each sequence, by all threads; sequence by sequence.
fn by_heads<'a, R: Send>(
    cpu: &Cpu,
    spans: &'a [Span],
    heads: usize,
    of: impl Fn(&Span, usize) -> R + Sync,
) -> Vec<((&'a Span, usize), R)> {
    let seen = spans.iter().filter(|span| span.tokens > 0);
    let tasks: Vec<(&Span, usize)> =
        seen.flat_map(|span| (0..heads).map(move |head| (span, head))).collect();
    let all = of_heads(cpu, tasks.len(), |task| of(tasks[task].0, tasks[task].1));
    tasks.into_iter().zip(all).collect()
}

/// The rows `[token, head, dim]` of one head in a sequence, where they lie; nothing where there are none.
fn of_head<'a>(x: &'a [f32], span: &Span, (heads, head): (usize, usize), dim: usize) -> View<'a> {
    View::rows(x.get((span.first * heads + head) * dim..).unwrap_or_default(), heads * dim)
}

/// Writes columns of the rows of one head in a sequence.
///
/// # Safety
/// No other task has these columns of the head in the sequence.
unsafe fn put(
    x: &Parts<'_, f32>,
    span: &Span,
    (heads, head): (usize, usize),
    dim: usize,
    of: Range<usize>,
    values: &[f32],
) {
    for (row, values) in values.chunks_exact(of.len().max(1)).enumerate() {
        let at = ((span.first + row) * heads + head) * dim;
        // SAFETY: by the contract of this function.
        unsafe { x.part(at + of.start..at + of.end) }.copy_from_slice(values);
    }
}

/// Some columns of `count` rows of `width`.
fn columns(x: &[f32], count: usize, width: usize, of: Range<usize>) -> Vec<f32> {
    let mut all = Vec::with_capacity(count * of.len());
    (0..count).for_each(|row| all.extend_from_slice(&x[row * width..][of.clone()]));
    all
}

/// Adds rows to some columns of the first rows of `width`.
fn add_columns(x: &mut [f32], width: usize, of: Range<usize>, more: &[f32]) {
    let rows = x.chunks_exact_mut(width.max(1)).zip(more.chunks_exact(of.len().max(1)));
    for (row, more) in rows {
        row[of.clone()].iter_mut().zip(more).for_each(|(x, more)| *x += more);
    }
}
