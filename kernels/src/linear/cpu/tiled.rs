//! bf16 weights on tiles: `y^T = W x^T`, each activation as the sum of three bf16, or rounded to one.
//!
//! Weights are read where they lie, 16 outputs and 32 columns to a tile. A sum goes over 32 columns after 32,
//! of each over the first parts of all activations, then the second, then the third: it is the same for any
//! number of rows.
//!
//! Weights below the normal numbers count as zeros, and a sum that falls below them becomes zero. An activation
//! that is not finite gives what it gives elsewhere; an infinite weight may give NaN, since parts may be 0.

use std::ops::Range;

use crate::cpu::bf16::COLUMNS;
use crate::cpu::simd::Simd;
use crate::cpu::split::{PARTS, Split};
use crate::cpu::stored::{Bf16, Stored};
use crate::cpu::tiles::{ROW_BYTES, Shapes, TILE_ROWS, TILES, TileKernel, Tiles};

/// The outputs of a tile.
pub(super) const PANEL: usize = TILE_ROWS;

/// The panels whose sums are open at once, in tiles 0 to 3.
const PANELS: usize = 4;

/// The outputs whose sums are open at once.
pub(super) const GROUP: usize = PANELS * PANEL;

/// The tile of weights.
const W: usize = 4;

/// The tiles of weights that are asked for ahead where they come from memory.
const AHEAD: usize = 4;

/// A task.
pub(super) struct Tiled<'a, F> {
    pub(super) x: &'a Split,
    pub(super) rows: Range<usize>,
    pub(super) w: Stored<'a>,
    pub(super) outputs: Range<usize>,
    pub(super) emit: F,
}

/// The weights of a group.
struct Group {
    /// The first row of each panel.
    weights: [*const u8; PANELS],
    /// What is left of the rows behind whole tiles, and zeros.
    rests: [[[u8; ROW_BYTES]; TILE_ROWS]; PANELS],
    /// The panels, and the outputs of each.
    panels: usize,
    height: usize,
    cols: usize,
}

/// The sums of a group and up to 16 rows, `[output, row]`.
type Sums = [[f32; TILE_ROWS]; GROUP];

impl<F: FnMut(usize, usize, &[f32])> TileKernel for Tiled<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, T: Tiles>(mut self) {
        let streamed = self.rows.len() <= TILE_ROWS;
        let mut first = self.outputs.start;
        while first < self.outputs.end {
            let left = self.outputs.end - first;
            // Whole panels; what is left is one of its own.
            let outputs = if left < PANEL { left } else { left.min(GROUP) / PANEL * PANEL };
            let group = self.group(first, outputs);
            for (block, parts) in self.x.blocks(self.rows.clone()) {
                let mut sums: Sums = [[0.0; TILE_ROWS]; GROUP];
                // SAFETY: by the contract of the trait.
                unsafe {
                    if self.x.parts() == PARTS {
                        group.multiply::<S, T, PARTS>(parts, block.len(), streamed, &mut sums);
                    } else {
                        group.multiply::<S, T, 1>(parts, block.len(), streamed, &mut sums);
                    }
                }
                for row in block.start.max(self.rows.start)..block.end.min(self.rows.end) {
                    let mut of_row = [0.0; GROUP];
                    for output in 0..outputs {
                        of_row[output] = sums[output][row - block.start];
                    }
                    (self.emit)(row, first, &of_row[..outputs]);
                }
            }
            first += outputs;
        }
    }
}

impl<F> Tiled<'_, F> {
    /// The weights of so many outputs from `first` on.
    #[inline(always)]
    fn group(&self, first: usize, outputs: usize) -> Group {
        let (height, cols) = (outputs.min(PANEL), self.w.cols);
        let rest = cols % COLUMNS;
        let mut group = Group {
            weights: [std::ptr::null(); PANELS],
            rests: [[[0; ROW_BYTES]; TILE_ROWS]; PANELS],
            panels: outputs.div_ceil(PANEL),
            height,
            cols,
        };
        for panel in 0..group.panels {
            let rows = self.w.rows_of::<Bf16>(first + panel * PANEL, height);
            group.weights[panel] = rows.as_ptr();
            for output in 0..height {
                let row = &rows[output * 2 * cols..][..2 * cols];
                group.rests[panel][output][..2 * rest].copy_from_slice(&row[2 * (cols - rest)..]);
            }
        }
        group
    }
}

impl Group {
    /// The sums of `n` rows, whose `N` parts are given: tiles 5 to 7 hold those of 32 columns.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `T`, and the thread holds no tiles.
    #[inline(always)]
    unsafe fn multiply<S: Simd, T: Tiles, const N: usize>(
        &self,
        parts: &[u32],
        n: usize,
        streamed: bool,
        sums: &mut Sums,
    ) {
        let mut shapes = Shapes { rows: [TILE_ROWS; TILES], bytes: [4 * n; TILES] };
        shapes.rows[..=W].fill(self.height);
        shapes.bytes[W] = ROW_BYTES;
        let (whole, of_part) = (self.cols / COLUMNS, COLUMNS / 2 * n);
        // SAFETY: by the contract of this function; panels have `height` rows of whole tiles and a rest, and
        // parts lie in blocks of `N` tiles. No other code runs before these tiles are released.
        unsafe {
            let mut tiles = T::configure(&shapes);
            for at in 0..self.cols.div_ceil(COLUMNS) {
                let x = parts.as_ptr().add(at * N * of_part).cast::<u8>();
                tiles.load::<5>(x, 4 * n);
                if N > 1 {
                    tiles.load::<6>(x.add(4 * of_part), 4 * n);
                    tiles.load::<7>(x.add(8 * of_part), 4 * n);
                }
                macro_rules! multiply {
                    ($panel:literal) => {
                        if $panel < self.panels {
                            let (from, stride) = if at < whole {
                                (self.weights[$panel].add(at * ROW_BYTES), 2 * self.cols)
                            } else {
                                (self.rests[$panel].as_ptr().cast(), ROW_BYTES)
                            };
                            tiles.load::<W>(from, stride);
                            if streamed {
                                for output in 0..self.height {
                                    let ahead = output * stride + AHEAD * ROW_BYTES;
                                    S::prefetch(from.wrapping_add(ahead));
                                }
                            }
                            tiles.tdpbf16ps::<$panel, W, 5>();
                            if N > 1 {
                                tiles.tdpbf16ps::<$panel, W, 6>();
                                tiles.tdpbf16ps::<$panel, W, 7>();
                            }
                        }
                    };
                }
                multiply!(0);
                multiply!(1);
                multiply!(2);
                multiply!(3);
            }
            macro_rules! store {
                ($panel:literal) => {
                    if $panel < self.panels {
                        let to = sums[$panel * PANEL..].as_mut_ptr();
                        tiles.store::<$panel>(to.cast(), size_of::<[f32; TILE_ROWS]>());
                    }
                };
            }
            store!(0);
            store!(1);
            store!(2);
            store!(3);
        }
    }
}
