//! Attention in bf16, on tiles: queries, keys, weights and values are rounded, sums are `f32`.
//!
//! A score is a sum over the elements of a key, 32 after 32; a value one over the keys of a split, 32 after
//! 32; between them, sixteen queries have their softmax, each in a lane of its own, and their weights are
//! added up as they were rounded. Splits are added in order, as in `f32`. So the order of each sum follows
//! from the positions of keys alone.
//!
//! Tiles take numbers below 2^-126 as zeros, and make zeros of such sums.

use latent_kernels::cpu::tiles::{Bf16Tiles, TILE_ROWS};
use latent_kernels::cpu::{Cpu, LANES};

use super::attended::Attended;
use super::blocks::{Block, Cut, SPLIT};
use super::state::State;
use super::tile::TILE;
use super::{HostPages, Query};
use crate::{RowLayout, Span};

mod ahead;
mod expanded;
mod lines;
mod meet;
mod product;
mod queries;
mod rows;
mod scores;
mod values;
mod weigh;

use ahead::PAGES;
pub(super) use expanded::{Expanded, Latents};
use meet::Meeting;
use queries::Queries;
use rows::Stored;
use values::Values;

/// As many queries as leave room for the keys of a split in the second cache.
pub(super) const CUT: Cut = Cut { queries: 8 * TILE_ROWS, heads: TILE_ROWS };

/// The splits that one state is for where a cache is long: states of all splits would be as large as its rows.
const STRETCH: usize = 8;

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
    const STRETCH: usize = STRETCH;
    const PAIRED: bool = true;

    fn queries(&self, block: &Block) -> Queries {
        self.q.rounded(self.cpu, block)
    }

    fn stride(&self) -> usize {
        stride(self.layout.value_dim)
    }

    fn meet(&self, block: &Block, queries: &Queries, split: usize, state: &mut State) {
        let RowLayout { kv_heads, key_dim, value_dim, value_offset } = self.layout;
        let group = block.heads.start * kv_heads / self.q.heads;
        let key = group * key_dim;
        let value = value_offset + group * value_dim;
        let mut keys = Stored::keys(self.pages, key..key + key_dim);
        let mut values = Stored::values(self.pages, value..value + value_dim);
        let mut meeting = Meeting::new(self.cpu, self.tiles, block, queries, split);
        let first = split * SPLIT;
        if keys.as_they_lie() {
            for place in 0..PAGES {
                let next = self.page(block, first + SPLIT + place * TILE);
                next.into_iter().for_each(|page| meeting.ahead.push(page));
            }
        }
        let count = (block.keys() - first).min(SPLIT);
        let mut rows = Vec::with_capacity(PAGES);
        for place in 0..count.div_ceil(TILE) {
            let (at, page) = (place * TILE, self.page(block, first + place * TILE));
            let page = page.expect("pages were proved to be open");
            let here = TILE.min(count - at);
            meeting.see(keys.rows(self.cpu, page, here, place), at);
            rows.push(values.rows(self.cpu, page, here, place));
        }
        let values = Values { pages: &rows, count, width: value_dim };
        meeting.finish(self.q.scale, values, state);
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

/// The elements from one query's values to the next's: whole tiles, and not a multiple of a page of memory, so
/// that rows do not meet in the same few places of a cache.
fn stride(value_dim: usize) -> usize {
    Values::padded(value_dim) + LANES
}
