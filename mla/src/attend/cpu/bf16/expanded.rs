//! Every head's keys and values of a split, made from latents in the layout that tiles take.

use std::cell::Cell;
use std::ops::Range;

use latent_kernels::cpu::tiles::Bf16Tiles;
use latent_kernels::cpu::{Cpu, Inputs, Parts, Rows, nearest_bf16};
use latent_kernels::{Backend, KernelError, Weight};

use super::super::attended::Attended;
use super::super::blocks::{Block, SPLIT};
use super::super::rows::Part;
use super::super::tile::{State, TILE};
use super::super::{HostPages, Query};
use super::lines::{LINE, Line, Round, WIDTH, elements_mut, lines_of, room};
use super::meet::Meeting;
use super::queries::Queries;
use super::rows::Bf16Rows;
use super::state;
use super::values::{Interleave, Values};
use crate::{LatentDims, Span};

/// Cached rows `[c_kv | rotated key]` of some positions of a sequence.
pub(crate) struct Latents<'a> {
    pub(crate) pages: &'a HostPages<u8>,
    pub(crate) span: &'a Span,
    pub(crate) positions: Range<usize>,
}

thread_local! {
    /// Memory that a former task left: sums, and the same rounded.
    static SPARE: Cell<(Vec<f32>, Vec<Line>)> = Cell::default();
}

/// The keys and values of a split.
pub(crate) struct Expanded<'a> {
    cpu: &'a Cpu,
    tiles: Bf16Tiles,
    q: Query<'a>,
    dims: LatentDims,
    count: usize,
    keys: Vec<Line>,     // [head, key of SPLIT, across]
    values: Vec<Values>, // [head]
}

impl<'a> Expanded<'a> {
    /// # Panics
    /// When a page with one of the positions is not open.
    pub(crate) fn new(
        cpu: &'a Cpu,
        tiles: Bf16Tiles,
        q: Query<'a>,
        latents: &Latents<'_>,
        kv_b: &Weight,
        dims: LatentDims,
    ) -> Result<Self, KernelError> {
        let LatentDims { num_attention_heads: heads, qk_nope_head_dim: nope, .. } = dims;
        let (across, count) = (lines_of(q.width), latents.positions.len());
        let mut keys = vec![Line::default(); heads * SPLIT * across];
        let mut values = vec![Values::default(); heads];
        let (c_kv, rotated) = latents.widened(cpu, dims);
        let kv_b = cpu.clone().bf16().matrix(kv_b.clone())?;
        let rows: Vec<&[f32]> = (0..count).map(|row| &c_kv.row(row)[..dims.kv_lora_rank]).collect();
        let c_kv = Inputs::new(cpu, &[&kv_b], &rows);
        let (key_parts, value_parts) = (Parts::new(&mut keys), Parts::new(&mut values));
        cpu.pool().run(2 * heads, &|task| {
            let (head, first) = (task / 2, task / 2 * dims.rows_per_head());
            let (mut sums, mut rounded) = SPARE.take();
            let rows = if task % 2 == 0 { 0..nope } else { nope..dims.rows_per_head() };
            let width = rows.len();
            sums.resize(sums.len().max(count * width), 0.0);
            let outputs = first + rows.start..first + rows.end;
            kv_b.product(cpu, &c_kv, 0..count, outputs.clone(), |key, output, of_key| {
                let at = key * width + output - outputs.start;
                sums[at..at + of_key.len()].copy_from_slice(of_key);
            });
            let of_sums =
                |to, across| Round { rows: &sums, stride: width, width, count, to, across };
            if task % 2 == 0 {
                // SAFETY: each head's keys belong to one task.
                let keys =
                    unsafe { key_parts.part(head * SPLIT * across..(head + 1) * SPLIT * across) };
                cpu.isa().run(of_sums(keys, across));
                for (key, rotated) in rotated.chunks_exact(dims.qk_rope_head_dim.max(1)).enumerate()
                {
                    let key = &mut elements_mut(&mut keys[key * across..])[nope..];
                    key[..rotated.len()].copy_from_slice(rotated);
                }
            } else {
                // SAFETY: each head's values belong to one task.
                let to = unsafe { &mut value_parts.part(head..head + 1)[0] };
                let across = lines_of(width);
                room(&mut rounded, count * across);
                cpu.isa().run(of_sums(&mut rounded, across));
                to.resize(width);
                let rows = Bf16Rows { first: rounded.as_ptr().cast(), row: across * LINE };
                let filled = count.next_multiple_of(WIDTH);
                cpu.isa().run(Interleave { rows, count, filled, at: 0, to });
            }
            SPARE.set((sums, rounded));
        });
        Ok(Self { cpu, tiles, q, dims, count, keys, values })
    }
}

impl Latents<'_> {
    /// The latents as inputs of a product, and the rotated keys in bf16, made by all threads.
    fn widened(&self, cpu: &Cpu, dims: LatentDims) -> (Rows, Vec<u16>) {
        let LatentDims { kv_lora_rank: rank, qk_rope_head_dim: rope, .. } = dims;
        let count = self.positions.len();
        let (mut c_kv, mut rotated) = (Rows::zeros(count, rank), vec![0; count * rope]);
        let ((parts, stride), rotated_parts) = (c_kv.parts(), Parts::new(&mut rotated));
        cpu.pool().run(count.div_ceil(TILE), &|task| {
            let keys = task * TILE..count.min((task + 1) * TILE);
            let page = self.span.pages[self.positions.start / TILE + task];
            let page = self.pages.page(page).expect("pages were proved to be open");
            let mut part = Part::new(self.pages, 0..self.pages.width);
            part.widen(cpu, page, keys.len());
            let (rows, row) = part.rows();
            for (key, from) in keys.zip(rows.chunks(row)) {
                // SAFETY: each key belongs to one task.
                let (c_kv, rotated) = unsafe {
                    let c_kv = parts.part(key * stride..key * stride + rank);
                    (c_kv, rotated_parts.part(key * rope..(key + 1) * rope))
                };
                c_kv.copy_from_slice(&from[..rank]);
                for (to, &v) in rotated.iter_mut().zip(&from[rank..]) {
                    *to = nearest_bf16(v);
                }
            }
        });
        (c_kv, rotated)
    }
}

impl Attended for Expanded<'_> {
    type Queries = Queries;

    fn queries(&self, block: &Block) -> Queries {
        self.q.rounded(self.cpu, block)
    }

    fn state(&self, block: &Block) -> State {
        state(block, self.dims.v_head_dim)
    }

    fn meet(&self, block: &Block, queries: &Queries, split: usize, state: &mut State) {
        let (head, across) = (block.heads.start, lines_of(self.q.width));
        let mut meeting = Meeting::new(self.cpu, self.tiles, block, queries, split);
        for at in (0..self.count).step_by(TILE) {
            let keys = &self.keys[(head * SPLIT + at) * across..][..TILE * across];
            let keys = Bf16Rows { first: keys.as_ptr().cast(), row: across * LINE };
            meeting.see(keys, at, 0);
        }
        meeting.finish(self.q.scale, Some(&self.values[head]), state);
    }
}
