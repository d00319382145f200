//! Sums of weighted values.
//!
//! Columns of these products are pairs of keys: the values of two neighbouring keys are interleaved, some
//! elements at a time, so that they are still in the nearest cache when they are multiplied. Of 32 elements the
//! even ones are one tile and the odd ones the next: sums have them in this order.

use latent_kernels::cpu::tiles::{Shapes, TILE_ROWS, TileKernel, Tiles};
use latent_kernels::cpu::{LANES, Simd};

use super::super::blocks::SPLIT;
use super::super::state::State;
use super::super::tile::TILE;
use super::ahead::Ahead;
use super::lines::{LINE, Line, WIDTH};
use super::meet::{Pair, WEIGHTS};
use super::product::{OPEN, Operand, Sums, accumulate, open, store};
use super::rows::Bf16Rows;

/// The elements whose sums are open at once where there is one tile of queries.
const WIDE: usize = OPEN * LANES;

/// The lines of interleaved values: of 32 elements of a split, or of [`WIDE`] ones of a page.
const LINES: usize = 2 * (SPLIT / 2);

/// Interleaved values.
#[derive(Debug, Clone)]
pub(super) struct Interleaved([Line; LINES]);

impl Default for Interleaved {
    fn default() -> Self {
        Self([Line::default(); LINES])
    }
}

/// The values of the keys of a split.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    /// Those of each page.
    pub(super) pages: &'a [Bf16Rows],
    /// The keys that have any.
    pub(super) count: usize,
    pub(super) width: usize,
}

impl Values<'_> {
    /// Elements of so many, filled up to those whose sums are made.
    pub(super) fn padded(width: usize) -> usize {
        width.next_multiple_of(WIDE)
    }

    /// Whether no key from a place on has an infinity or a NaN.
    pub(super) fn are_finite(&self, from: usize) -> bool {
        (from..self.count).all(|key| {
            let Bf16Rows { first, row } = self.pages[key / TILE];
            // SAFETY: each key has its values there.
            let bytes =
                unsafe { std::slice::from_raw_parts(first.add(key % TILE * row), 2 * self.width) };
            bytes.as_chunks().0.iter().all(|&bits| u16::from_le_bytes(bits) & 0x7f80 != 0x7f80)
        })
    }

    /// Writes some elements of the keys of a page as pairs, zeros where there is no key up to a multiple of
    /// [`WIDTH`] keys, and gives these keys' number. The panels of `N` times 32 elements lie `panel` lines apart.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn interleave<S: Simd, const N: usize>(
        &self,
        page: usize,
        element: usize,
        to: &mut [Line],
        panel: usize,
        ahead: &mut Ahead,
    ) -> usize {
        let Bf16Rows { first, row } = self.pages[page];
        let (count, elements) = (self.count - page * TILE, self.width - element);
        let (count, elements) = (count.min(TILE), elements.min(N * WIDTH));
        let filled = count.next_multiple_of(WIDTH);
        assert!(to.len() >= (2 * N - 1) * panel + filled / 2, "room for pairs");
        let to = to.as_mut_ptr();
        // SAFETY: by the contract of this function; each key has these elements there.
        unsafe {
            let first = first.add(2 * element);
            let mut rest = [[0_u16; WIDE]; 2];
            for pair in 0..filled / 2 {
                ahead.ask::<S>(N + 1);
                let mut from = [first.add(2 * pair * row), first.add((2 * pair + 1) * row)];
                if elements < N * WIDTH || 2 * pair + 1 >= count {
                    // Zeros, where a key or an element is missing.
                    for i in 0..2 {
                        let to = rest[i].as_mut_ptr().cast::<u8>();
                        if 2 * pair + i < count {
                            to.copy_from_nonoverlapping(from[i], 2 * elements);
                        } else {
                            rest[i] = [0; WIDE];
                        }
                        from[i] = to;
                    }
                }
                for i in 0..N {
                    let [even, odd] = S::load_bf16_pairs(from[0].add(i * LINE));
                    let [next_even, next_odd] = S::load_bf16_pairs(from[1].add(i * LINE));
                    let to = to.add(2 * i * panel + pair);
                    S::store_bf16_pairs(to.cast(), even, next_even);
                    S::store_bf16_pairs(to.add(panel).cast(), odd, next_odd);
                }
            }
        }
        filled
    }
}

/// Adds up the values of a split for some queries.
pub(super) struct Add<'a> {
    pub(super) pairs: &'a [Pair],
    pub(super) values: Values<'a>,
    /// `[query / 16, WEIGHTS]`
    pub(super) weights: &'a [Line],
    pub(super) ahead: &'a mut Ahead,
    pub(super) memory: &'a mut Interleaved,
    pub(super) state: &'a mut State,
}

impl TileKernel for Add<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, T: Tiles>(mut self) {
        assert!(self.values.pages.len() >= self.values.count.div_ceil(TILE), "pages");
        assert!(self.values.count <= SPLIT, "a split");
        // SAFETY: by the contract of the trait. No other code runs before these tiles are released.
        unsafe {
            let mut tiles = T::configure(&Shapes::WHOLE);
            match *self.pairs {
                [pair] if pair.tiles == 1 => self.alone::<S, T>(&mut tiles, pair),
                _ => self.shared::<S, T>(&mut tiles),
            }
        }
    }
}

impl Add<'_> {
    /// One tile of queries: its sums stay open while the pages come by.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `T`, and tiles are whole.
    #[inline(always)]
    unsafe fn alone<S: Simd, T: Tiles>(&mut self, tiles: &mut T, pair: Pair) {
        const PANEL: usize = TILE / 2;
        const BUFFER: usize = OPEN * PANEL;
        let mut element = 0;
        while element < self.values.width {
            // SAFETY: by the contract of this function.
            unsafe {
                open(tiles);
                let pages = self.values.count.div_ceil(TILE);
                let mut keys = 0;
                // The next page is interleaved before one is multiplied: what was just written cannot be
                // loaded as a tile at once.
                for page in 0..pages + usize::from(pages > 0) {
                    let before = keys;
                    if page < pages {
                        let to = &mut self.memory.0[page % 2 * BUFFER..][..BUFFER];
                        let ahead = &mut *self.ahead;
                        keys = self.values.interleave::<S, 2>(page, element, to, PANEL, ahead);
                    }
                    if page > 0 {
                        let rows = self.rows(pair, (page - 1) * (TILE / WIDTH));
                        let columns = self.columns((page - 1) % 2 * BUFFER, PANEL);
                        let (depth, ahead) = (before / WIDTH, &mut Ahead::none());
                        accumulate::<S, T, 1, 4>(tiles, rows, columns, depth, ahead);
                    }
                }
                store::<T, 1, 4>(tiles, self.sums(pair, element));
            }
            element += WIDE;
        }
    }

    /// More tiles of queries: all meet some elements of all keys.
    ///
    /// # Safety
    /// As [`alone`](Self::alone).
    #[inline(always)]
    unsafe fn shared<S: Simd, T: Tiles>(&mut self, tiles: &mut T) {
        const PANEL: usize = SPLIT / 2;
        let mut element = 0;
        while element < self.values.width {
            for page in 0..self.values.count.div_ceil(TILE) {
                let to = &mut self.memory.0[page * (TILE / 2)..];
                // SAFETY: by the contract of this function.
                unsafe { self.values.interleave::<S, 1>(page, element, to, PANEL, self.ahead) };
            }
            let columns = self.columns(0, PANEL);
            for pair in 0..self.pairs.len() {
                let pair = self.pairs[pair];
                let depth = pair.most.min(self.values.count).div_ceil(WIDTH);
                let (rows, to) = (self.rows(pair, 0), self.sums(pair, element));
                // SAFETY: by the contract of this function.
                unsafe {
                    open(tiles);
                    if pair.tiles == 2 {
                        accumulate::<S, T, 2, 2>(tiles, rows, columns, depth, &mut Ahead::none());
                        store::<T, 2, 2>(tiles, to);
                    } else {
                        accumulate::<S, T, 1, 2>(tiles, rows, columns, depth, &mut Ahead::none());
                        store::<T, 1, 2>(tiles, to);
                    }
                }
            }
            element += WIDTH;
        }
    }

    /// The weights of queries from a block of [`WIDTH`] keys on.
    #[inline(always)]
    fn rows(&self, pair: Pair, block: usize) -> Operand {
        let weights = &self.weights[pair.tile * WEIGHTS..(pair.tile + pair.tiles) * WEIGHTS];
        let first = weights[block * TILE_ROWS..].as_ptr().cast();
        Operand { first, row: LINE, tile: WEIGHTS * LINE, step: TILE_ROWS * LINE }
    }

    /// Interleaved values from a line on, whose panels lie so many lines apart.
    #[inline(always)]
    fn columns(&self, line: usize, panel: usize) -> Operand {
        let first = self.memory.0[line..].as_ptr().cast();
        Operand { first, row: LINE, tile: panel * LINE, step: TILE_ROWS * LINE }
    }

    /// Where the sums of queries are written.
    #[inline(always)]
    fn sums(&mut self, pair: Pair, element: usize) -> Sums {
        let stride = self.state.stride;
        assert!(Values::padded(self.values.width) <= stride, "room for values");
        let tile = TILE_ROWS * stride;
        let to = &mut self.state.values[pair.tile * tile..(pair.tile + pair.tiles) * tile];
        let (row, across) = (stride * size_of::<f32>(), LANES * size_of::<f32>());
        Sums { first: to[element..].as_mut_ptr().cast(), row, down: TILE_ROWS * row, across }
    }
}

const _: () = assert!(SPLIT.is_multiple_of(WIDTH) && WIDE * TILE <= WIDTH * SPLIT, "whole tiles");
