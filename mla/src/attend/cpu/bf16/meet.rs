//! A block of queries meets a split of keys.

use std::cell::Cell;

use latent_kernels::cpu::tiles::{Bf16Tiles, TILE_ROWS};
use latent_kernels::cpu::{Cpu, LANES};

use super::super::blocks::{Block, SPLIT};
use super::super::state::State;
use super::ahead::Ahead;
use super::lines::{Line, WIDTH, room};
use super::queries::Queries;
use super::rows::Bf16Rows;
use super::scores::{Score, Scores};
use super::values::{Add, Interleaved, Values};
use super::weigh::Weigh;

/// The lines of the weights of a tile of queries: `[key / 32, query, pair of keys]`.
pub(super) const WEIGHTS: usize = SPLIT / WIDTH * TILE_ROWS;

thread_local! {
    /// Memory that a former meeting left.
    static SPARE: Cell<Memory> = Cell::default();
}

#[derive(Default)]
struct Memory {
    scores: Vec<Scores>, // [query / 16]
    weights: Vec<Line>,  // [query / 16, WEIGHTS]
    values: Box<Interleaved>,
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
    /// What is read next, to be asked for meanwhile.
    pub(super) ahead: Ahead,
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
        Self { cpu, tiles, queries, seen, pairs, ahead: Ahead::none(), memory }
    }

    /// Makes the scores of a page of keys that begins at a place of the split.
    pub(super) fn see(&mut self, keys: Bf16Rows, at: usize) {
        self.tiles.run(Score {
            queries: self.queries,
            pairs: &self.pairs,
            keys: keys.operand(),
            at,
            ahead: &mut self.ahead,
            scores: &mut self.memory.scores,
        });
    }

    /// Makes weights of all scores, and the sums of values.
    pub(super) fn finish(mut self, scale: f32, values: Values<'_>, state: &mut State) {
        for i in 0..self.pairs.len() {
            self.weigh(self.pairs[i], scale, state);
        }
        let (pairs, most) = (self.pairs.clone(), self.pairs.last().map_or(0, |pair| pair.most));
        let values = Values { count: values.count.min(most), ..values };
        self.add(&pairs, values, state);
        // A key that a query does not see has a weight of 0, which infinite values would show.
        let least = pairs.iter().filter(|pair| pair.least < pair.most).map(|pair| pair.least).min();
        if least.is_some_and(|least| !values.are_finite(least)) {
            self.add_seen(values, state);
        }
        SPARE.set(self.memory);
    }

    /// Sums of weighted values.
    fn add(&mut self, pairs: &[Pair], values: Values<'_>, state: &mut State) {
        let Memory { weights, values: memory, .. } = &mut self.memory;
        let ahead = &mut self.ahead;
        self.tiles.run(Add { pairs, values, weights, ahead, memory, state });
    }

    /// The same with nothing but the values of keys that are seen, for one query after the other.
    fn add_seen(&mut self, values: Values<'_>, state: &mut State) {
        let mut sums = Vec::new();
        for query in 0..self.seen.len() {
            let pair = self.pairs[query / (2 * TILE_ROWS)];
            let values = Values { count: self.seen[query].min(values.count), ..values };
            self.add(&[pair], values, state);
            sums.extend_from_slice(&state.values[query * state.stride..][..state.stride]);
        }
        state.values[..sums.len()].copy_from_slice(&sums);
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
}
