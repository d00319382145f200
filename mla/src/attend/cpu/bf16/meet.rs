//! A block of queries meets a split of keys.

use std::cell::Cell;

use latent_kernels::cpu::tiles::{Bf16Tiles, Shapes, TILE_ROWS, TileKernel, Tiles};
use latent_kernels::cpu::{Cpu, LANES, Simd};

use super::super::blocks::{Block, SPLIT};
use super::super::tile::State;
use super::lines::{LINE, Line, WIDTH, room};
use super::product::{Operand, Sums, product};
use super::queries::Queries;
use super::rows::Bf16Rows;
use super::scores::{Score, Scores};
use super::values::{Interleave, Values};
use super::weigh::Weigh;

/// The lines of the weights of a tile of queries: `[key / 32, query, pair of keys]`.
const WEIGHTS: usize = SPLIT / WIDTH * TILE_ROWS;

thread_local! {
    /// Memory that a former meeting left.
    static SPARE: Cell<Memory> = Cell::default();
}

#[derive(Default)]
struct Memory {
    scores: Vec<Scores>, // [query / 16]
    weights: Vec<Line>,  // [query / 16, WEIGHTS]
    values: Values,
}

/// One or two tiles of queries, whose products are made together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) tile: usize,
    pub(super) tiles: usize,
    /// The fewest and the most keys of the split that one of them sees.
    pub(super) least: usize,
    pub(super) most: usize,
}

/// What a block of queries makes of a split.
pub(super) struct Meeting<'a> {
    cpu: &'a Cpu,
    tiles: Bf16Tiles,
    queries: &'a Queries,
    /// The keys of the split that each query sees.
    seen: Vec<usize>,
    pairs: Vec<Pair>,
    memory: Memory,
}

impl<'a> Meeting<'a> {
    pub(super) fn new(
        cpu: &'a Cpu,
        tiles: Bf16Tiles,
        block: &Block,
        queries: &'a Queries,
        split: usize,
    ) -> Self {
        let seen = block.seen(split * SPLIT, SPLIT);
        let pairs = seen.chunks(2 * TILE_ROWS).enumerate().map(|(i, seen)| Pair {
            tile: 2 * i,
            tiles: seen.len().div_ceil(TILE_ROWS),
            // Later tokens see more.
            least: seen[0],
            most: seen[seen.len() - 1],
        });
        let pairs = pairs.collect();
        let mut memory = SPARE.take();
        if memory.scores.len() < queries.tiles() {
            memory.scores.resize(queries.tiles(), Scores([[0.0; LANES]; SPLIT]));
        }
        room(&mut memory.weights, queries.tiles() * WEIGHTS);
        Self { cpu, tiles, queries, seen, pairs, memory }
    }

    /// Makes the scores of a page of keys that begins at a place of the split, and asks for what lies `ahead`
    /// bytes behind them, unless that is 0.
    pub(super) fn see(&mut self, keys: Bf16Rows, at: usize, ahead: isize) {
        self.tiles.run(Score {
            queries: self.queries,
            pairs: &self.pairs,
            keys: keys.operand(),
            at,
            ahead,
            scores: &mut self.memory.scores,
        });
    }

    /// Takes the values of `count` keys, which begin at a place of the split.
    pub(super) fn interleave(&mut self, rows: Bf16Rows, width: usize, at: usize, count: usize) {
        let to = &mut self.memory.values;
        to.resize(width);
        let filled = count.next_multiple_of(WIDTH);
        self.cpu.isa().run(Interleave { rows, count, filled, at, to });
    }

    /// Makes weights of all scores, and the sums of the `values` that were given, or were made beforehand.
    pub(super) fn finish(mut self, scale: f32, values: Option<&Values>, state: &mut State) {
        let own = std::mem::take(&mut self.memory.values);
        let values = values.unwrap_or(&own);
        let most = self.pairs.last().map_or(0, |pair| pair.most);
        let mut finite = None;
        for i in 0..self.pairs.len() {
            let pair = self.pairs[i];
            self.weigh(pair, scale, state);
            if pair.least < pair.most && !*finite.get_or_insert_with(|| values.are_finite(most)) {
                self.add_seen(pair, values, state);
            } else {
                self.add(pair, values, state);
            }
        }
        self.memory.values = own;
        SPARE.set(self.memory);
    }

    /// Weights, their sums and the largest scores.
    fn weigh(&mut self, pair: Pair, scale: f32, state: &mut State) {
        for tile in pair.tile..pair.tile + pair.tiles {
            let queries = tile * TILE_ROWS..self.seen.len().min((tile + 1) * TILE_ROWS);
            let (mut max, mut sum) = ([0.0; LANES], [0.0; LANES]);
            // Where there is no query, what is seen is that of the last.
            let mut seen = [self.seen[queries.end - 1]; LANES];
            seen[..queries.len()].copy_from_slice(&self.seen[queries.clone()]);
            self.cpu.isa().run(Weigh {
                scores: &mut self.memory.scores[tile],
                scale,
                seen,
                limit: pair.most,
                weights: &mut self.memory.weights[tile * WEIGHTS..][..WEIGHTS],
                max: &mut max,
                sum: &mut sum,
            });
            state.max[queries.clone()].copy_from_slice(&max[..queries.len()]);
            state.sum[queries.clone()].copy_from_slice(&sum[..queries.len()]);
        }
    }

    /// Sums of weighted values.
    fn add(&self, pair: Pair, values: &Values, state: &mut State) {
        self.tiles.run(Add { pair, weights: &self.memory.weights, values, state });
    }

    /// The same where a key that some queries do not see has a value that even a weight of 0 would show.
    fn add_seen(&self, pair: Pair, values: &Values, state: &mut State) {
        let first = pair.tile * TILE_ROWS;
        let of_pair = first..self.seen.len().min(first + pair.tiles * TILE_ROWS);
        let stride = state.stride;
        let mut sums = state.values[first * stride..of_pair.end * stride].to_vec();
        let mut start = of_pair.start;
        while start < of_pair.end {
            let seen = self.seen[start];
            let alike = self.seen[start..of_pair.end].iter().take_while(|&&n| n == seen).count();
            self.add(pair, &values.of_first(seen), state);
            let range = start * stride..(start + alike) * stride;
            let to = range.start - first * stride..range.end - first * stride;
            sums[to].copy_from_slice(&state.values[range]);
            start += alike;
        }
        state.values[first * stride..of_pair.end * stride].copy_from_slice(&sums);
    }
}

/// The sums of the values of a pair of tiles of queries, each times its weight.
struct Add<'a> {
    pair: Pair,
    weights: &'a [Line],
    values: &'a Values,
    state: &'a mut State,
}

impl TileKernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, T: Tiles>(self) {
        let Add { pair, weights, values, state } = self;
        let weights = &weights[pair.tile * WEIGHTS..(pair.tile + pair.tiles) * WEIGHTS];
        let tile = TILE_ROWS * state.stride;
        let to = &mut state.values[pair.tile * tile..(pair.tile + pair.tiles) * tile];
        assert!(values.panels() * LANES <= state.stride, "room for values");
        let rows = Operand {
            first: weights.as_ptr().cast(),
            row: LINE,
            tile: WEIGHTS * LINE,
            step: TILE_ROWS * LINE,
        };
        let (row, across) = (state.stride * size_of::<f32>(), LANES * size_of::<f32>());
        let depth = pair.most.div_ceil(WIDTH);
        // SAFETY: by the contract of the trait; weights and values are whole tiles up to this depth, and
        // sums have rows for whole tiles. No other code runs before these tiles are released.
        unsafe {
            let mut tiles = T::configure(&Shapes::WHOLE);
            let mut panel = 0;
            while panel < values.panels() {
                let first = to.as_mut_ptr().add(panel * LANES).cast::<u8>();
                let to = Sums { first, row, down: TILE_ROWS * row, across };
                let columns = values.columns(panel);
                if pair.tiles == 2 {
                    product::<S, T, 2>(&mut tiles, rows, columns, depth, to, 0);
                    panel += 2;
                } else {
                    product::<S, T, 4>(&mut tiles, rows, columns, depth, to, 0);
                    panel += 4;
                }
            }
        }
    }
}
