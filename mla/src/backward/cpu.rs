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
            let of_head = Head {
                q: part(elements(q), span, (heads, head), key_dim, 0..key_dim),
                k: columns(rows, span.tokens, width, key..key + key_dim),
                v: columns(rows, span.tokens, width, value..value + value_dim),
                d_o: part(elements(d_o), span, (heads, head), value_dim, 0..value_dim),
                dims: [key_dim, value_dim],
                scale,
            };
            let of_head = of_head.backward(self);
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
            let mut k = columns(kv, span.tokens, all, at..at + nope);
            let rotated = columns(&rows[span.first * width..], span.tokens, width, rank..width);
            k = beside(&k, nope, &rotated, width - rank);
            let of_head = Head {
                q: part(elements(q), span, (heads, head), key_dim, 0..key_dim),
                k,
                v: columns(kv, span.tokens, all, at + nope..at + per_head),
                d_o: part(elements(d_o), span, (heads, head), v_head_dim, 0..v_head_dim),
                dims: [key_dim, v_head_dim],
                scale,
            };
            let of_head = of_head.backward(self);
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
            let q = part(elements(q), &all, (heads, head), nope + rope, 0..nope);
            let d = part(elements(d_absorbed), &all, (heads, head), rank + rope, 0..rank);
            // dq = d wᵀ, dw = qᵀ d
            let mut dq = vec![0.0; tokens * nope];
            let across = transposed(self, w, rank);
            let sizes = [tokens, rank, nope];
            add_matmul(self, View::rows(&d, rank), (&across, nope), (&mut dq, nope), sizes);
            let mut dw = vec![0.0; nope * rank];
            let a = View::rows(&q, nope).transposed();
            add_matmul(self, a, (&d, rank), (&mut dw, rank), [nope, tokens, rank]);
            (dq, dw)
        });
        let mut dq = vec![0.0; tokens * heads * (nope + rope)];
        let mut dw = vec![0.0; w.len()];
        let parts = Parts::new(&mut dq);
        for (head, (of_q, of_w)) in heads_of.into_iter().enumerate() {
            let rotated =
                part(elements(d_absorbed), &all, (heads, head), rank + rope, rank..rank + rope);
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
            let o = part(elements(o_latent), &all, (heads, head), rank, 0..rank);
            let d = part(elements(d_o), &all, (heads, head), v_head_dim, 0..v_head_dim);
            // do_latent = d w, dw = dᵀ o
            let mut d_latent = vec![0.0; tokens * rank];
            let a = View::rows(&d, v_head_dim);
            add_matmul(self, a, (w, rank), (&mut d_latent, rank), [tokens, v_head_dim, rank]);
            let mut dw = vec![0.0; v_head_dim * rank];
            let sizes = [v_head_dim, tokens, rank];
            add_matmul(self, a.transposed(), (&o, rank), (&mut dw, rank), sizes);
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
    let tasks: Vec<(&Span, usize)> =
        spans.iter().flat_map(|span| (0..heads).map(move |head| (span, head))).collect();
    let all = of_heads(cpu, tasks.len(), |task| of(tasks[task].0, tasks[task].1));
    tasks.into_iter().zip(all).collect()
}

/// Columns of the rows `[token, head, dim]` of one head in a sequence.
fn part(
    x: &[f32],
    span: &Span,
    (heads, head): (usize, usize),
    dim: usize,
    of: Range<usize>,
) -> Vec<f32> {
    let at = head * dim;
    columns(&x[span.first * heads * dim..], span.tokens, heads * dim, at + of.start..at + of.end)
}

/// Writes them.
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

/// Rows of `a` with those of `b` behind them.
fn beside(a: &[f32], a_width: usize, b: &[f32], b_width: usize) -> Vec<f32> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    for (a, b) in a.chunks_exact(a_width).zip(b.chunks_exact(b_width)) {
        all.extend_from_slice(a);
        all.extend_from_slice(b);
    }
    all
}
