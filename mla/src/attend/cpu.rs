//! [`Attend`] on this processor.

#![expect(
    unsafe_code,
    reason = "vector instructions and shared results; each block says why it is sound"
)]

use latent_kernels::cpu::{Cpu, LANES, Parts, Rows};
use latent_kernels::linear::cpu::{outputs_of_a_task, product};
use latent_kernels::{Backend, Cost, KernelError, Scalar, Weight};
use ndarray::ArrayD;

use super::pages::HostPages;
use super::reference::elements;
use super::{
    Attend, LatentDims, RowLayout, check_attend, check_expanded, check_heads, check_kv_b,
    check_rows,
};
use crate::{PAGE_TOKENS, RowFormat, Slot, Span};

mod blocks;
mod project;
mod rows;
mod tile;
mod widen;

use blocks::{Block, SPLIT};
use rows::{Part, Tiles};
use tile::{Keys, State, TILE};

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
            rows.extend_from_slice(&part.rows()[..pages.width]);
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
        let shared = heads / kv_heads;
        let blocks: Vec<Block> = (0..)
            .zip(spans)
            .flat_map(|(i, s)| {
                Block::of_span(i, (s.first, s.tokens, s.start), heads, shared, self.threads())
            })
            .collect();
        self.record("attend", cost(pages, spans, heads, [key_dim, value_dim]));
        let q = elements(q);
        let mut o = vec![0.0; tokens * heads * value_dim];
        let parts = Parts::new(&mut o);
        let meet = |block: &Block, queries: &[f32], split: usize, state: &mut State| {
            let group = block.heads.start / shared;
            let mut tiles = Tiles::new(pages, &spans[block.span], layout, group);
            let keys = split * SPLIT..block.keys().min((split + 1) * SPLIT);
            state.clear();
            for (i, first) in keys.clone().step_by(TILE).enumerate() {
                let tile = tiles.tile(self, (split * SPLIT) / TILE + i, keys.end);
                block.meet(self, (queries, key_dim, f32::from_f64(scale)), first, tile, state);
            }
        };
        let splits = |block: &Block| block.keys().div_ceil(SPLIT);
        if blocks.len() >= 4 * self.threads() || blocks.iter().all(|b| splits(b) == 1) {
            self.pool().run(blocks.len(), &|task| {
                let block = &blocks[task];
                let queries = block.pack(q, heads, key_dim);
                let [mut all, mut part] = [(); 2].map(|()| State::new(block.queries(), value_dim));
                for split in 0..splits(block) {
                    meet(block, &queries, split, &mut part);
                    block.fold(self, &mut all, &part, split * SPLIT);
                }
                // SAFETY: blocks have different tokens or heads.
                unsafe { block.write(&all, &parts, heads, value_dim) };
            });
        } else {
            // Few queries and many keys: threads share the keys, too.
            let tasks: Vec<(usize, usize)> = (0..blocks.len())
                .flat_map(|b| (0..splits(&blocks[b])).map(move |s| (b, s)))
                .collect();
            let mut states: Vec<State> =
                tasks.iter().map(|&(b, _)| State::new(blocks[b].queries(), value_dim)).collect();
            let shared_states = Parts::new(&mut states);
            self.pool().run(tasks.len(), &|task| {
                let (block, split) = (&blocks[tasks[task].0], tasks[task].1);
                // SAFETY: each task has a state of its own.
                let state = unsafe { shared_states.part(task..task + 1) };
                meet(block, &block.pack(q, heads, key_dim), split, &mut state[0]);
            });
            self.pool().run(blocks.len(), &|b| {
                let block = &blocks[b];
                let mut all = State::new(block.queries(), value_dim);
                for (&(_, split), part) in tasks.iter().zip(&states).filter(|((of, _), _)| *of == b)
                {
                    block.fold(self, &mut all, part, split * SPLIT);
                }
                // SAFETY: blocks have different tokens or heads.
                unsafe { block.write(&all, &parts, heads, value_dim) };
            });
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
        let q = elements(q);
        let mut o = vec![0.0; tokens * heads * value_dim];
        let parts = Parts::new(&mut o);
        for span in spans.iter().filter(|span| span.tokens > 0) {
            let blocks = Block::of_span(0, (span.first, span.tokens, span.start), heads, 1, 1);
            let mut states: Vec<State> =
                blocks.iter().map(|b| State::new(b.queries(), value_dim)).collect();
            for first in (0..span.keys()).step_by(SPLIT) {
                let keys = first..span.keys().min(first + SPLIT);
                let expanded = Expanded::new(self, pages, span, keys.clone(), kv_b, dims)?;
                let shared_states = Parts::new(&mut states);
                self.pool().run(blocks.len(), &|b| {
                    let block = &blocks[b];
                    if block.keys() <= first {
                        return;
                    }
                    // SAFETY: each block has a state of its own.
                    let all = unsafe { &mut shared_states.part(b..b + 1)[0] };
                    let queries = block.pack(q, heads, key_dim);
                    let mut part = State::new(block.queries(), value_dim);
                    for at in keys.clone().step_by(TILE) {
                        let tile = expanded.tile(block.heads.start, at - first);
                        let tile = (tile, &[][..]);
                        block.meet(
                            self,
                            (&queries, key_dim, f32::from_f64(scale)),
                            at,
                            tile,
                            &mut part,
                        );
                    }
                    block.fold(self, all, &part, first);
                });
            }
            for (block, state) in blocks.iter().zip(&states) {
                // SAFETY: this thread alone writes.
                unsafe { block.write(state, &parts, heads, value_dim) };
            }
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
fn array(values: Vec<f32>, shape: &[usize]) -> ArrayD<f32> {
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

/// Every head's keys and values of some positions.
struct Expanded {
    keys: Vec<f32>,   // [head, key, key_stride]
    values: Vec<f32>, // [head, key, value_stride]
    count: usize,
    key_stride: usize,
    value_stride: usize,
}

impl Expanded {
    fn new(
        cpu: &Cpu,
        pages: &HostPages<u8>,
        span: &Span,
        positions: std::ops::Range<usize>,
        kv_b: &Weight,
        dims: LatentDims,
    ) -> Result<Self, KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
        let (nope, rope) = (dims.qk_nope_head_dim, dims.qk_rope_head_dim);
        let count = positions.len();
        let key_stride = (nope + rope).next_multiple_of(LANES);
        let value_stride = dims.v_head_dim.next_multiple_of(LANES);
        let mut keys = vec![0.0; heads * count * key_stride];
        let mut values = vec![0.0; heads * count * value_stride];
        let mut latents = Rows::zeros(count, rank);
        let mut part = Part::new(pages, 0..pages.width);
        for (i, position) in positions.enumerate() {
            part.widen(cpu, pages.row(span.slot(position))?, 1);
            latents.row_mut(i)[..rank].copy_from_slice(&part.rows()[..rank]);
            for head in 0..heads {
                let at = (head * count + i) * key_stride + nope;
                keys[at..at + rope].copy_from_slice(&part.rows()[rank..rank + rope]);
            }
        }
        let latents = latents.prepared(cpu, kv_b);
        let (key_parts, value_parts) = (Parts::new(&mut keys), Parts::new(&mut values));
        let block = outputs_of_a_task(cpu, kv_b, count);
        cpu.pool().run(kv_b.rows().div_ceil(block), &|task| {
            let outputs = task * block..kv_b.rows().min((task + 1) * block);
            product(cpu, &latents, 0..count, kv_b, outputs, |key, first, sums| {
                for (output, &sum) in (first..).zip(sums) {
                    let head = output / dims.rows_per_head();
                    let (row, at) = (output % dims.rows_per_head(), head * count + key);
                    // SAFETY: each output belongs to one task.
                    unsafe {
                        if row < nope {
                            key_parts.write(at * key_stride + row, sum);
                        } else {
                            value_parts.write(at * value_stride + row - nope, sum);
                        }
                    }
                }
            });
        });
        Ok(Self { keys, values, count, key_stride, value_stride })
    }

    /// A head's keys and values from the `first`th on.
    fn tile(&self, head: usize, first: usize) -> Keys<'_> {
        let at = head * self.count + first;
        Keys {
            keys: &self.keys[at * self.key_stride..],
            key_stride: self.key_stride,
            values: &self.values[at * self.value_stride..],
            value_stride: self.value_stride,
        }
    }
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
