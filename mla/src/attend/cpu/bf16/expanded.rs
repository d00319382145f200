//! Every head's keys and values of a split, made from latents in the layout that tiles take.

use std::cell::Cell;
use std::ops::Range;

use latent_kernels::cpu::tiles::Bf16Tiles;
use latent_kernels::cpu::{Cpu, Inputs, Parts, Rows};
use latent_kernels::{Backend, KernelError, Weight};

use super::super::attended::Attended;
use super::super::blocks::{Block, SPLIT};
use super::super::rows::Part;
use super::super::state::State;
use super::super::tile::TILE;
use super::super::{HostPages, Query};
use super::ahead::PAGES;
use super::lines::{LINE, Line, Round, elements, elements_mut, lines_of};
use super::meet::Meeting;
use super::queries::Queries;
use super::rows::Bf16Rows;
use super::values::Values;
use super::{STRETCH, stride};
use crate::{LatentDims, Span};

/// Cached rows `[c_kv | rotated key]` of some positions of a sequence.
pub(crate) struct Latents<'a> {
    pub(crate) pages: &'a HostPages<u8>,
    pub(crate) span: &'a Span,
    pub(crate) positions: Range<usize>,
}

thread_local! {
    /// Memory for sums that a former task left.
    static SPARE: Cell<Vec<f32>> = Cell::default();
}

/// The keys and values of a split.
pub(crate) struct Expanded<'a> {
    cpu: &'a Cpu,
    tiles: Bf16Tiles,
    q: Query<'a>,
    dims: LatentDims,
    count: usize,
    keys: Vec<Line>,   // [head, key of SPLIT, across]
    values: Vec<Line>, // [head, key of SPLIT, lines]
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
        let LatentDims { num_attention_heads: heads, .. } = dims;
        let (nope, rope) = (dims.qk_nope_head_dim, dims.qk_rope_head_dim);
        let (across, count) = (lines_of(q.width), latents.positions.len());
        let mut keys = vec![Line::default(); heads * SPLIT * across];
        let across_values = lines_of(dims.v_head_dim);
        let mut values = vec![Line::default(); heads * SPLIT * across_values];
        let (c_kv, rotated) = latents.widened(cpu, dims);
        let kv_b = cpu.clone().bf16().matrix(kv_b.clone())?;
        let rows: Vec<&[f32]> = (0..count).map(|row| &c_kv.row(row)[..dims.kv_lora_rank]).collect();
        let c_kv = Inputs::new(cpu, &[&kv_b], &rows);
        let (key_parts, value_parts) = (Parts::new(&mut keys), Parts::new(&mut values));
        cpu.pool().run(2 * heads, &|task| {
            let (head, first) = (task / 2, task / 2 * dims.rows_per_head());
            let mut sums = SPARE.take();
            let of_keys = task % 2 == 0;
            let rows = if of_keys { 0..nope } else { nope..dims.rows_per_head() };
            let width = rows.len();
            sums.resize(sums.len().max(count * width), 0.0);
            let outputs = first + rows.start..first + rows.end;
            kv_b.product(cpu, &c_kv, 0..count, outputs.clone(), |key, output, of_key| {
                let at = key * width + output - outputs.start;
                sums[at..at + of_key.len()].copy_from_slice(of_key);
            });
            let (parts, across) =
                if of_keys { (&key_parts, across) } else { (&value_parts, across_values) };
            // SAFETY: each head's keys and values belong to one task each.
            let to = unsafe { parts.part(head * SPLIT * across..(head + 1) * SPLIT * across) };
            cpu.isa().run(Round { rows: &sums, stride: width, width, count, to, across });
            if of_keys {
                for (key, rotated) in rotated.chunks_exact(lines_of(rope).max(1)).enumerate() {
                    elements_mut(&mut to[key * across..])[nope..nope + rope]
                        .copy_from_slice(&elements(rotated)[..rope]);
                }
            }
            SPARE.set(sums);
        });
        Ok(Self { cpu, tiles, q, dims, count, keys, values })
    }
}

impl Latents<'_> {
    /// The latents as inputs of a product, and the rotated keys in bf16, made by all threads:
    /// `[key, kv_lora_rank]` and `[key, lines]`.
    fn widened(&self, cpu: &Cpu, dims: LatentDims) -> (Rows, Vec<Line>) {
        let LatentDims { kv_lora_rank: rank, qk_rope_head_dim: rope, .. } = dims;
        let count = self.positions.len();
        let across = lines_of(rope);
        let (mut c_kv, mut rotated) =
            (Rows::zeros(count, rank), vec![Line::default(); count * across]);
        let ((parts, stride), rotated_parts) = (c_kv.parts(), Parts::new(&mut rotated));
        cpu.pool().run(count.div_ceil(TILE), &|task| {
            let keys = task * TILE..count.min((task + 1) * TILE);
            let page = self.span.pages[self.positions.start / TILE + task];
            let page = self.pages.page(page).expect("pages were proved to be open");
            let mut part = Part::new(self.pages, 0..self.pages.width);
            part.widen(cpu, page, keys.len());
            let (rows, row) = part.rows();
            // SAFETY: each key belongs to one task.
            let to = unsafe { rotated_parts.part(keys.start * across..keys.end * across) };
            let (rows_of_keys, count) = (&rows[rank..], keys.len());
            cpu.isa().run(Round {
                rows: rows_of_keys,
                stride: row,
                width: rope,
                count,
                to,
                across,
            });
            for (key, from) in keys.zip(rows.chunks(row)) {
                // SAFETY: as above.
                unsafe { parts.part(key * stride..key * stride + rank) }
                    .copy_from_slice(&from[..rank]);
            }
        });
        (c_kv, rotated)
    }
}

impl Attended for Expanded<'_> {
    type Queries = Queries;
    const STRETCH: usize = STRETCH;
    const PAIRED: bool = true;

    fn queries(&self, block: &Block) -> Queries {
        self.q.rounded(self.cpu, block)
    }

    fn stride(&self) -> usize {
        stride(self.dims.v_head_dim)
    }

    fn meet(&self, block: &Block, queries: &Queries, split: usize, state: &mut State) {
        let mut meeting = Meeting::new(self.cpu, self.tiles, block, queries, split);
        let pages = |rows: &[Line], width| -> Vec<Bf16Rows> {
            let (page, row) = (TILE * lines_of(width), lines_of(width) * LINE);
            let of_head = &rows[block.heads.start * PAGES * page..][..PAGES * page];
            let first = |i: usize| of_head[i * page..].as_ptr().cast();
            (0..PAGES).map(|i| Bf16Rows { first: first(i), row }).collect()
        };
        let keys = pages(&self.keys, self.q.width);
        for (keys, at) in keys.into_iter().zip((0..self.count).step_by(TILE)) {
            meeting.see(keys, at);
        }
        let (width, count) = (self.dims.v_head_dim, self.count);
        let values = Values { pages: &pages(&self.values, width), count, width };
        meeting.finish(self.q.scale, values, state);
    }
}
