//! bf16 weights on tiles: `y^T = W x^T`, each activation as the sum of three bf16, or rounded to one.
//!
//! Weights are read where they lie, 16 outputs and 32 columns to a tile, which meets up to three blocks of 16 rows.
//! A sum goes over 32 columns after 32, of each over the first parts of all activations, then the second, then
//! the third: it is the same for any number of rows.
//!
//! Weights below the normal numbers count as zeros, and a sum that falls below them becomes zero. An activation
//! that is not finite gives what it gives elsewhere; an infinite weight may give NaN, since parts may be 0.

use std::cell::Cell;
use std::ops::Range;

use super::Emit;
use crate::cpu::Rows;
use crate::cpu::bf16::COLUMNS;
use crate::cpu::simd::Simd;
use crate::cpu::split::{Block, PARTS, Split};
use crate::cpu::stored::{Bf16, Stored};
use crate::cpu::tiles::{ROW_BYTES, Shapes, TILE_ROWS, TILES, TileKernel, Tiles};

/// The outputs of a tile.
pub(super) const PANEL: usize = TILE_ROWS;

/// The panels whose sums are open at once.
const PANELS: usize = 2;

/// The blocks of rows whose sums are open at once: those with the first panel in tiles 0 to 2, those with the
/// second in 3 to 5.
const BLOCKS: usize = 3;

/// The blocks of rows that all weights of a task meet before the next: as many stay in the second cache.
const RESIDENT: usize = 12;

/// The panels whose sums are given together.
const TOGETHER: usize = 4;

/// Their outputs.
pub(super) const GROUP: usize = TOGETHER * PANEL;

/// The tile of weights.
const W: usize = 6;

/// The tiles of weights that are asked for ahead when they are met first: they come from memory.
const AHEAD: usize = 4;

/// The tile of activations.
const X: usize = 7;

/// A task.
pub(super) struct Tiled<'a> {
    pub(super) x: &'a Split,
    pub(super) rows: Range<usize>,
    pub(super) w: Stored<'a>,
    pub(super) outputs: Range<usize>,
    pub(super) emit: Emit<'a>,
}

/// The weights of a group.
struct Group {
    /// The first row of each panel.
    weights: [*const u8; TOGETHER],
    /// What is left of the rows behind whole tiles, and zeros.
    rests: [[[u8; ROW_BYTES]; TILE_ROWS]; TOGETHER],
    /// The panels, and the outputs of each.
    panels: usize,
    height: usize,
    cols: usize,
}

thread_local! {
    /// The sums of some blocks and a group, `[row, GROUP]`.
    static SUMS: Cell<Rows> = Cell::default();
}

impl TileKernel for Tiled<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, T: Tiles>(mut self) {
        let blocks = self.x.blocks(self.rows.clone());
        let mut memory = SUMS.take();
        let sums = memory.room(BLOCKS * TILE_ROWS * GROUP);
        let mut from = 0;
        while from < blocks.len() {
            let to = blocks.len().min(from + RESIDENT);
            let mut first = self.outputs.start;
            while first < self.outputs.end {
                let left = self.outputs.end - first;
                // Whole panels; what is left is one of its own.
                let outputs = if left < PANEL { left } else { left.min(GROUP) / PANEL * PANEL };
                let group = self.group(first, outputs);
                let mut at = from;
                while at < to {
                    let here = &blocks[at..at + together(&blocks[at..to])];
                    // SAFETY: by the contract of the trait.
                    unsafe {
                        if self.x.parts() == PARTS {
                            group.all_panels::<S, T, PARTS>(here, at == 0, sums);
                        } else {
                            group.all_panels::<S, T, 1>(here, at == 0, sums);
                        }
                        self.give(here, first, outputs, sums);
                    }
                    at += here.len();
                }
                first += outputs;
            }
            from = to;
        }
        SUMS.set(memory);
    }
}

/// How many of some blocks, at least one, meet weights together: as many as leave none alone behind others.
#[inline(always)]
fn together(blocks: &[Block<'_>]) -> usize {
    let most = match blocks.len() {
        1 => 1,
        2 | 4 => 2,
        _ => BLOCKS,
    };
    let mut alike = 1;
    while alike < most && blocks[alike].width == blocks[0].width {
        alike += 1;
    }
    alike
}

impl Tiled<'_> {
    /// Gives the sums of some blocks away.
    ///
    /// # Safety
    /// The sums were made.
    #[inline(always)]
    unsafe fn give(
        &mut self,
        blocks: &[Block<'_>],
        first: usize,
        outputs: usize,
        sums: *const f32,
    ) {
        for (b, block) in blocks.iter().enumerate() {
            let Range { start, end } = block.rows;
            for row in start.max(self.rows.start)..end.min(self.rows.end) {
                let at = (b * TILE_ROWS + row - start) * GROUP;
                // SAFETY: by the contract of this function.
                let sums = unsafe { std::slice::from_raw_parts(sums.add(at), outputs) };
                (self.emit)(row, first, sums);
            }
        }
    }
}

impl Tiled<'_> {
    /// The weights of so many outputs from `first` on.
    #[inline(always)]
    fn group(&self, first: usize, outputs: usize) -> Group {
        let (height, cols) = (outputs.min(PANEL), self.w.cols);
        let rest = cols % COLUMNS;
        let mut group = Group {
            weights: [std::ptr::null(); TOGETHER],
            rests: [[[0; ROW_BYTES]; TILE_ROWS]; TOGETHER],
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
    /// The sums of all panels with up to three blocks of rows, whose `N` parts are given.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `T`, the thread holds no tiles, and there is room for the
    /// sums of as many blocks, here and in all that follows.
    #[inline(always)]
    unsafe fn all_panels<S: Simd, T: Tiles, const N: usize>(
        &self,
        blocks: &[Block<'_>],
        streamed: bool,
        sums: *mut f32,
    ) {
        // SAFETY: by the contract of this function.
        unsafe {
            let mut panel = 0;
            while panel < self.panels {
                self.multiply::<S, T, N>(panel, blocks, streamed, sums);
                panel += PANELS;
            }
        }
    }

    /// The sums of up to three blocks of rows, whose `N` parts are given, with two panels from `panel` on, the second
    /// where there is one.
    #[inline(always)]
    unsafe fn multiply<S: Simd, T: Tiles, const N: usize>(
        &self,
        panel: usize,
        blocks: &[Block<'_>],
        streamed: bool,
        sums: *mut f32,
    ) {
        let n = blocks[0].width;
        let mut shapes = Shapes { rows: [self.height; TILES], bytes: [4 * n; TILES] };
        (shapes.bytes[W], shapes.rows[X]) = (ROW_BYTES, TILE_ROWS);
        let (whole, of_part) = (self.cols / COLUMNS, COLUMNS / 2 * 4 * n);
        let two = panel + 1 < self.panels;
        let mut x = [std::ptr::null(); BLOCKS];
        for b in 0..blocks.len() {
            x[b] = blocks[b].words.as_ptr().cast::<u8>();
        }
        let blocks = blocks.len();
        // SAFETY: by the contract of this function; panels have `height` rows of whole tiles and a rest, and
        // parts lie in blocks of `N` tiles. No other code runs before these tiles are released.
        unsafe {
            let mut tiles = T::configure(&shapes);
            for at in 0..self.cols.div_ceil(COLUMNS) {
                macro_rules! load_weights {
                    ($panel:expr) => {
                        let (from, stride) = if at < whole {
                            (self.weights[$panel].add(at * ROW_BYTES), 2 * self.cols)
                        } else {
                            (self.rests[$panel].as_ptr().cast(), ROW_BYTES)
                        };
                        tiles.load::<W>(from, stride);
                        if streamed {
                            for output in 0..self.height {
                                S::prefetch(from.wrapping_add(output * stride + AHEAD * ROW_BYTES));
                            }
                        }
                    };
                }
                macro_rules! add {
                    ($block:literal, $part:expr, $sums:literal) => {
                        if $block < blocks {
                            tiles.load::<X>(x[$block].add((at * N + $part) * of_part), 4 * n);
                            tiles.tdpbf16ps::<$sums, W, X>();
                        }
                    };
                }
                load_weights!(panel);
                for part in 0..N {
                    add!(0, part, 0);
                    add!(1, part, 1);
                    add!(2, part, 2);
                }
                if two {
                    load_weights!(panel + 1);
                    for part in 0..N {
                        add!(0, part, 3);
                        add!(1, part, 4);
                        add!(2, part, 5);
                    }
                }
            }
            let mut square = [0.0; TILE_ROWS * TILE_ROWS];
            macro_rules! store {
                ($block:literal, $panel:expr, $sums:literal) => {
                    if $block < blocks {
                        tiles.store::<$sums>(square.as_mut_ptr().cast(), ROW_BYTES);
                        let to = sums.add($block * TILE_ROWS * GROUP + ($panel) * PANEL);
                        S::transpose(square.as_ptr(), TILE_ROWS, to, GROUP);
                    }
                };
            }
            store!(0, panel, 0);
            store!(1, panel, 1);
            store!(2, panel, 2);
            if two {
                store!(0, panel + 1, 3);
                store!(1, panel + 1, 4);
                store!(2, panel + 1, 5);
            }
        }
    }
}
