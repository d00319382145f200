//! The scores of a page of keys.

use latent_kernels::cpu::tiles::{Shapes, TILE_ROWS, TileKernel, Tiles};
use latent_kernels::cpu::{LANES, Simd};

use super::super::blocks::SPLIT;
use super::super::tile::TILE;
use super::ahead::Ahead;
use super::lines::{LINE, WIDTH};
use super::meet::Pair;
use super::product::{Operand, Sums, accumulate, open, store};
use super::queries::Queries;

/// The scores of sixteen queries with the keys of a split.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct Scores(pub(super) [[f32; LANES]; SPLIT]); // [key, query]

/// All queries meet the keys of a page.
pub(super) struct Score<'a> {
    pub(super) queries: &'a Queries,
    pub(super) pairs: &'a [Pair],
    /// A page of keys, and where they lie in their split.
    pub(super) keys: Operand,
    pub(super) at: usize,
    pub(super) ahead: &'a mut Ahead,
    /// One for each tile of queries.
    pub(super) scores: &'a mut [Scores],
}

impl TileKernel for Score<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, T: Tiles>(self) {
        let Score { queries, pairs, keys, at, ahead, scores } = self;
        assert!(at + TILE <= SPLIT, "keys of a split");
        // SAFETY: by the contract of the trait; keys are a page of rows as wide as queries, and each tile
        // of queries has its scores. No other code runs before these tiles are released.
        unsafe {
            let mut tiles = T::configure(&Shapes::WHOLE);
            for pair in 0..pairs.len() {
                let Pair { tile, tiles: wide, most, .. } = pairs[pair];
                if most <= at {
                    continue;
                }
                let columns = queries.columns(tile);
                let scores = &mut scores[tile..tile + wide];
                let across = size_of::<Scores>();
                let mut to = Sums {
                    first: scores.as_mut_ptr().cast::<u8>().add(at * LINE),
                    row: LINE,
                    down: TILE_ROWS * LINE,
                    across,
                };
                let depth = queries.depth();
                open(&mut tiles);
                if wide == 2 {
                    let mut keys = keys;
                    accumulate::<S, T, 2, 2>(&mut tiles, keys, columns, depth, ahead);
                    store::<T, 2, 2>(&tiles, to);
                    if most > at + WIDTH {
                        keys.first = keys.first.add(2 * keys.tile);
                        to.first = to.first.add(2 * to.down);
                        open(&mut tiles);
                        accumulate::<S, T, 2, 2>(&mut tiles, keys, columns, depth, ahead);
                        store::<T, 2, 2>(&tiles, to);
                    }
                } else {
                    accumulate::<S, T, 4, 1>(&mut tiles, keys, columns, depth, ahead);
                    store::<T, 4, 1>(&tiles, to);
                }
            }
        }
    }
}

const _: () = assert!(TILE == 4 * TILE_ROWS && WIDTH == 2 * TILE_ROWS, "four tiles to a page");
