//! Attention in bf16, on tiles: queries, keys, weights and values are rounded, sums are `f32`.
//!
//! A score is a sum over the elements of a key, 32 after 32; a value one over the keys of a split, 32 after
//! 32; between them, sixteen queries have their softmax, each in a lane of its own, and their weights are
//! added up as they were rounded. Splits are added in order, as in `f32`. So the order of each sum follows
//! from the positions of keys alone.
//!
//! Tiles take numbers below 2^-126 as zeros, and make zeros of such sums.

use latent_kernels::cpu::Cpu;
use latent_kernels::cpu::tiles::{Bf16Tiles, TILE_ROWS};

use super::attended::Attended;
use super::blocks::{Block, Cut, SPLIT};
use super::tile::{State, TILE};
use super::{HostPages, Query};
use crate::{RowLayout, Span};

mod expanded;
mod lines;
mod meet;
mod product;
mod queries;
mod rows;
mod scores;
mod values;
mod weigh;

pub(super) use expanded::{Expanded, Latents};
use meet::Meeting;
use queries::Queries;
use rows::Stored;
use values::Values;

/// As many queries as leave room for the keys of a split in the second cache.
pub(super) const CUT: Cut = Cut { queries: 8 * TILE_ROWS, heads: TILE_ROWS };

/// Cached keys and values as they are.
pub(super) struct Cached<'a> {
    pub(super) cpu: &'a Cpu,
    pub(super) tiles: Bf16Tiles,
    pub(super) q: Query<'a>,
    pub(super) pages: &'a HostPages<u8>,
    pub(super) spans: &'a [Span],
    pub(super) layout: RowLayout,
}

impl Attended for Cached<'_> {
    type Queries = Queries;

    fn queries(&self, block: &Block) -> Queries {
        self.q.rounded(self.cpu, block)
    }

    fn state(&self, block: &Block) -> State {
        state(block, self.layout.value_dim)
    }

    fn meet(&self, block: &Block, queries: &Queries, split: usize, state: &mut State) {
        let RowLayout { kv_heads, key_dim, value_dim, value_offset } = self.layout;
        let group = block.heads.start * kv_heads / self.q.heads;
        let key = group * key_dim;
        let value = value_offset + group * value_dim;
        let mut keys = Stored::keys(self.pages, key..key + key_dim);
        let mut values = Stored::values(self.pages, value..value + value_dim);
        let mut meeting = Meeting::new(self.cpu, self.tiles, block, queries, split);
        let end = block.keys().min((split + 1) * SPLIT);
        for at in (split * SPLIT..end).step_by(TILE) {
            let [page, next] = [at, at + TILE].map(|at| self.page(block, at));
            let page = page.expect("pages were proved to be open");
            let count = TILE.min(end - at);
            meeting.see(keys.rows(self.cpu, page, count), at % SPLIT, keys.ahead(page, next));
            let values = values.rows(self.cpu, page, count);
            meeting.interleave(values, value_dim, at % SPLIT, count);
        }
        meeting.finish(self.q.scale, None, state);
    }
}

impl Cached<'_> {
    /// The page of the key at a position, where the block has such a key.
    fn page(&self, block: &Block, position: usize) -> Option<&[u8]> {
        let page = *self.spans[block.span].pages.get(position / TILE)?;
        self.pages.page(page).ok().filter(|_| position < block.keys())
    }
}

impl Query<'_> {
    /// The queries of a block.
    fn rounded(&self, cpu: &Cpu, block: &Block) -> Queries {
        Queries::new(cpu, &block.rows_of(self.values, self.heads, self.width), self.width)
    }
}

/// Of queries that saw no key, with room for whole tiles.
fn state(block: &Block, value_dim: usize) -> State {
    let (queries, width) = (block.queries(), Values::padded(value_dim));
    // Rows a multiple of a page apart would meet in the same few places of a cache.
    State::new(queries, queries.next_multiple_of(TILE_ROWS), width + TILE_ROWS)
}
