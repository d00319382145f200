//! [`Attend`] on this processor.

#![expect(
    unsafe_code,
    reason = "vector instructions and shared results; each block says why it is sound"
)]

use latent_kernels::cpu::{Cpu, Parts};
use latent_kernels::{Backend, Cost, KernelError, Scalar, Weight};
use ndarray::ArrayD;

use super::pages::HostPages;
use super::reference::elements;
use super::{
    Attend, LatentDims, RowLayout, check_attend, check_expanded, check_heads, check_kv_b,
    check_rows,
};
use crate::{PAGE_TOKENS, RowFormat, Slot, Span};

mod attended;
mod bf16;
mod blocks;
mod project;
mod rows;
mod state;
mod tile;
mod vectors;
mod widen;

use attended::Output;
use blocks::{Block, SPLIT};
use rows::Part;

impl Attend for Cpu {
    /// Rows are held as their format stores them.
    type Pages = HostPages<u8>;
    /// As it is stored: it is small, and met from both sides.
    type KvB = Weight;

    fn kv_b(&self, weight: Weight) -> Result<Weight, KernelError> {
        Ok(weight)
    }

    fn pages(&self, width: usize, format: RowFormat) -> Result<HostPages<u8>, KernelError> {
        HostPages::new(width, format, format.row_bytes(width, 4))
    }

    fn open_page(&self, pages: &mut HostPages<u8>, page: usize) -> Result<(), KernelError> {
        // All bits set are NaN in every format.
        pages.open(page, 0xff);
        Ok(())
    }

    fn close_page(&self, pages: &mut HostPages<u8>, page: usize) {
        pages.close(page);
    }

    fn copy_page(
        &self,
        pages: &mut HostPages<u8>,
        from: usize,
        to: usize,
    ) -> Result<(), KernelError> {
        pages.copy(from, to)
    }

    fn pages_bytes(&self, pages: &HostPages<u8>) -> usize {
        pages.bytes(4)
    }

    fn write_rows(
        &self,
        pages: &mut HostPages<u8>,
        slots: &[Slot],
        rows: &ArrayD<f32>,
    ) -> Result<(), KernelError> {
        check_rows(rows.shape(), slots, pages.width)?;
        let format = pages.format;
        for (row, &slot) in elements(rows).chunks_exact(pages.width.max(1)).zip(slots) {
            pages.row_mut(slot)?.copy_from_slice(&format.encode(row));
        }
        Ok(())
    }

    fn read_rows(&self, pages: &HostPages<u8>, slots: &[Slot]) -> Result<ArrayD<f32>, KernelError> {
        let mut rows = Vec::with_capacity(slots.len() * pages.width);
        let mut part = Part::new(pages, 0..pages.width);
        for &slot in slots {
            part.widen(self, pages.row(slot)?, 1);
            rows.extend_from_slice(&part.rows().0[..pages.width]);
        }
        self.upload(&rows, &[slots.len(), pages.width])
    }

    fn attend(
        &self,
        q: &ArrayD<f32>,
        pages: &HostPages<u8>,
        spans: &[Span],
        layout: RowLayout,
        scale: f64,
    ) -> Result<ArrayD<f32>, KernelError> {
        check_attend(q.shape(), pages.width, spans, layout)?;
        let RowLayout { kv_heads, key_dim, value_dim, .. } = layout;
        let (tokens, heads) = (q.shape()[0], q.shape()[1]);
        prove_open(pages, spans)?;
        self.record("attend", cost(pages, spans, heads, [key_dim, value_dim]));
        let q = Query::new(q, scale);
        let mut o = vec![0.0; tokens * heads * value_dim];
        let to = Output { o: &Parts::new(&mut o), heads, value_dim };
        let blocks = |cut| {
            let of_span = |(i, s): (usize, &Span)| {
                Block::of_span(cut, i, s, (heads, heads / kv_heads), self.threads())
            };
            spans.iter().enumerate().flat_map(of_span).collect::<Vec<_>>()
        };
        match self.bf16_tiles() {
            Some(tiles) => {
                let form = bf16::Cached { cpu: self, tiles, q, pages, spans, layout };
                attended::attend(self, &form, &blocks(bf16::CUT), &to);
            }
            None => {
                let form = vectors::Cached { cpu: self, q, pages, spans, layout };
                attended::attend(self, &form, &blocks(vectors::CUT), &to);
            }
        }
        Ok(array(o, &[tokens, heads, value_dim]))
    }

    fn attend_expanded(
        &self,
        q: &ArrayD<f32>,
        pages: &HostPages<u8>,
        spans: &[Span],
        kv_b: &Weight,
        dims: LatentDims,
        scale: f64,
    ) -> Result<ArrayD<f32>, KernelError> {
        check_expanded(q.shape(), pages.width, spans, [kv_b.rows(), kv_b.cols()], dims)?;
        prove_open(pages, spans)?;
        let (tokens, heads, key_dim) = (q.shape()[0], dims.num_attention_heads, q.shape()[2]);
        let value_dim = dims.v_head_dim;
        self.record("attend", cost(pages, spans, heads, [key_dim, value_dim]));
        let keys = spans.iter().map(Span::keys).sum();
        let expansion = Cost::product(keys, [kv_b.rows(), kv_b.cols()], kv_b.stored_bytes());
        self.record("expand", expansion);
        let q = Query::new(q, scale);
        let mut o = vec![0.0; tokens * heads * value_dim];
        let to = Output { o: &Parts::new(&mut o), heads, value_dim };
        for span in spans.iter().filter(|span| span.tokens > 0) {
            let positions = |split| split * SPLIT..span.keys().min((split + 1) * SPLIT);
            let blocks = |cut| Block::of_span(cut, 0, span, (heads, 1), 1);
            match self.bf16_tiles() {
                Some(tiles) => attended::attend_made(
                    self,
                    &blocks(bf16::CUT),
                    |split| {
                        let latents = bf16::Latents { pages, span, positions: positions(split) };
                        bf16::Expanded::new(self, tiles, q, &latents, kv_b, dims)
                    },
                    &to,
                ),
                None => attended::attend_made(
                    self,
                    &blocks(vectors::CUT),
                    |split| {
                        vectors::Expanded::new(self, q, pages, span, positions(split), kv_b, dims)
                    },
                    &to,
                ),
            }?;
        }
        Ok(array(o, &[tokens, heads, value_dim]))
    }

    fn absorb_query(
        &self,
        q_nope: &ArrayD<f32>,
        kv_b: &Weight,
        dims: LatentDims,
    ) -> Result<ArrayD<f32>, KernelError> {
        check_heads("absorb: q_nope", q_nope.shape(), dims.qk_nope_head_dim, dims)?;
        absorb(self, q_nope, kv_b, dims)
    }

    fn absorbed_query(
        &self,
        q: &ArrayD<f32>,
        kv_b: &Weight,
        dims: LatentDims,
    ) -> Result<ArrayD<f32>, KernelError> {
        let width = dims.qk_nope_head_dim + dims.qk_rope_head_dim;
        check_heads("absorb: q", q.shape(), width, dims)?;
        absorb(self, q, kv_b, dims)
    }

    fn expand_values(
        &self,
        o_latent: &ArrayD<f32>,
        kv_b: &Weight,
        dims: LatentDims,
    ) -> Result<ArrayD<f32>, KernelError> {
        let tokens = check_heads("expand: o_latent", o_latent.shape(), dims.kv_lora_rank, dims)?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        self.record("expand", project::cost(kv_b, dims, tokens, dims.v_head_dim));
        let y = project::expand(self, elements(o_latent), tokens, kv_b, dims);
        Ok(array(y, &[tokens, dims.num_attention_heads, dims.v_head_dim]))
    }
}

/// Queries `[token, head, width]`, and what their scores are times.
#[derive(Debug, Clone, Copy)]
struct Query<'a> {
    values: &'a [f32],
    heads: usize,
    width: usize,
    scale: f32,
}

impl<'a> Query<'a> {
    fn new(q: &'a ArrayD<f32>, scale: f64) -> Self {
        let (heads, width) = (q.shape()[1], q.shape()[2]);
        Self { values: elements(q), heads, width, scale: Scalar::from_f64(scale) }
    }
}

/// Queries whose part without position is absorbed; what else a head has passes unchanged behind it.
fn absorb(
    cpu: &Cpu,
    q: &ArrayD<f32>,
    kv_b: &Weight,
    dims: LatentDims,
) -> Result<ArrayD<f32>, KernelError> {
    check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
    let (tokens, width) = (q.shape()[0], q.shape()[2]);
    cpu.record("absorb", project::cost(kv_b, dims, tokens, dims.qk_nope_head_dim));
    let y = project::absorb(cpu, (elements(q), width), tokens, kv_b, dims);
    let wide = dims.kv_lora_rank + width - dims.qk_nope_head_dim;
    Ok(array(y, &[tokens, dims.num_attention_heads, wide]))
}

/// As many values as `shape` says.
pub(crate) fn array(values: Vec<f32>, shape: &[usize]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(shape, values).expect("as many values as the shape says")
}

/// What the tokens of spans cost that see keys and values of these widths: each row is read once.
fn cost(pages: &HostPages<u8>, spans: &[Span], heads: usize, dims: [usize; 2]) -> Cost {
    let width = dims[0] + dims[1];
    let seen = |s: &Span| s.tokens * s.start + s.tokens * (s.tokens + 1) / 2;
    let (keys, tokens) = spans.iter().fold((0, 0), |(k, t), s| (k + s.keys(), t + s.tokens));
    let bytes = keys * pages.row_len + 4 * tokens * heads * width;
    let multiply_adds = spans.iter().map(seen).sum::<usize>() * heads * width;
    Cost { multiply_adds: multiply_adds as u64, ..Cost::streaming(bytes) }
}

/// Proves that every page with a key is open.
fn prove_open(pages: &HostPages<u8>, spans: &[Span]) -> Result<(), KernelError> {
    for span in spans {
        for &page in &span.pages[..span.keys().div_ceil(PAGE_TOKENS)] {
            pages.page(page)?;
        }
    }
    Ok(())
}
