//! Attention in `f32`, on vectors.

use std::ops::Range;

use latent_kernels::cpu::{Cpu, LANES, Parts, Rows};
use latent_kernels::linear::cpu::{outputs_of_a_task, product};
use latent_kernels::{KernelError, Weight};

use super::attended::Attended;
use super::blocks::{Block, Cut, SPLIT};
use super::rows::{Part, Tiles};
use super::state::State;
use super::tile::{Keys, TILE};
use super::{HostPages, Query};
use crate::{LatentDims, RowLayout, Span};

pub(super) const CUT: Cut = Cut { queries: 32, heads: 8 };

/// Cached keys and values as they are.
pub(super) struct Cached<'a> {
    pub(super) cpu: &'a Cpu,
    pub(super) q: Query<'a>,
    pub(super) pages: &'a HostPages<u8>,
    pub(super) spans: &'a [Span],
    pub(super) layout: RowLayout,
}

impl Attended for Cached<'_> {
    type Queries = Vec<f32>;
    const STRETCH: usize = 1;

    fn queries(&self, block: &Block) -> Vec<f32> {
        block.pack(self.q.values, self.q.heads, self.q.width)
    }

    fn stride(&self) -> usize {
        self.layout.value_dim.next_multiple_of(LANES)
    }

    fn meet(&self, block: &Block, queries: &Vec<f32>, split: usize, state: &mut State) {
        let group = block.heads.start * self.layout.kv_heads / self.q.heads;
        let mut tiles = Tiles::new(self.pages, &self.spans[block.span], self.layout, group);
        let keys = split * SPLIT..block.keys().min((split + 1) * SPLIT);
        state.clear();
        for (i, first) in keys.clone().step_by(TILE).enumerate() {
            let tile = tiles.tile(self.cpu, (split * SPLIT) / TILE + i, keys.end);
            block.meet(self.cpu, (queries, self.q.width, self.q.scale), first, tile, state);
        }
    }
}

/// Every head's keys and values of a split, made from latents.
pub(super) struct Expanded<'a> {
    cpu: &'a Cpu,
    q: Query<'a>,
    keys: Vec<f32>,   // [head, key, key_stride]
    values: Vec<f32>, // [head, key, value_stride]
    count: usize,
    key_stride: usize,
    value_stride: usize,
}

impl<'a> Expanded<'a> {
    pub(super) fn new(
        cpu: &'a Cpu,
        q: Query<'a>,
        pages: &HostPages<u8>,
        span: &Span,
        positions: Range<usize>,
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
            latents.row_mut(i)[..rank].copy_from_slice(&part.rows().0[..rank]);
            for head in 0..heads {
                let at = (head * count + i) * key_stride + nope;
                keys[at..at + rope].copy_from_slice(&part.rows().0[rank..rank + rope]);
            }
        }
        let latents = latents.prepared(cpu, kv_b);
        let (key_parts, value_parts) = (Parts::new(&mut keys), Parts::new(&mut values));
        let block = outputs_of_a_task(cpu, kv_b, count);
        cpu.pool().run(kv_b.rows().div_ceil(block), &|task| {
            let outputs = task * block..kv_b.rows().min((task + 1) * block);
            product(cpu, &latents, 0..count, kv_b, outputs, &mut |key, first, sums| {
                // Neighbours of one head's key or value lie together.
                let mut done = 0;
                while done < sums.len() {
                    let head = (first + done) / dims.rows_per_head();
                    let row = (first + done) % dims.rows_per_head();
                    let (parts, stride, from, end) = if row < nope {
                        (&key_parts, key_stride, row, nope)
                    } else {
                        (&value_parts, value_stride, row - nope, dims.v_head_dim)
                    };
                    let next = sums.len().min(done + end - from);
                    let at = (head * count + key) * stride + from;
                    // SAFETY: each output belongs to one task.
                    let to = unsafe { parts.part(at..at + next - done) };
                    to.copy_from_slice(&sums[done..next]);
                    done = next;
                }
            });
        });
        Ok(Self { cpu, q, keys, values, count, key_stride, value_stride })
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

impl Attended for Expanded<'_> {
    type Queries = Vec<f32>;
    const STRETCH: usize = 1;

    fn queries(&self, block: &Block) -> Vec<f32> {
        block.pack(self.q.values, self.q.heads, self.q.width)
    }

    fn stride(&self) -> usize {
        self.value_stride
    }

    fn meet(&self, block: &Block, queries: &Vec<f32>, split: usize, state: &mut State) {
        state.clear();
        // Keys behind the last that any of the queries sees are left out.
        let count = self.count.min(block.keys() - split * SPLIT);
        for at in (0..count).step_by(TILE) {
            let tile = (self.tile(block.heads.start, at), &[][..]);
            let queries = (&queries[..], self.q.width, self.q.scale);
            block.meet(self.cpu, queries, split * SPLIT + at, tile, state);
        }
    }
}
