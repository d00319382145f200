//! Products in 8 bits: both sides are whole numbers, and sums of a block are exact.
//!
//! `y = Σ_block (Σ_column x w) scale_x scale_w`, the blocks added from left to right with `fma`: the same
//! bits for any number of rows and threads.

use std::cell::Cell;
use std::ops::Range;

use crate::cpu::int8::{BLOCK, Int8Rows, Int8Weight, PANEL, Tile};
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::{Cpu, Rows};

/// The panels whose sums are open at once.
const GROUP: usize = 4;

/// The blocks of a group that many rows meet before the next: they stay in the first cache.
const DEPTH: usize = 4;

/// The rows from which blocks are met in this way. Fewer wait for memory, which comes fastest from front
/// to back.
const MANY: usize = 4;

/// The tiles that are asked for ahead where weights come from memory.
const AHEAD: usize = 4;

thread_local! {
    /// Sums that wait for the rest of their terms.
    static SUMS: Cell<Rows> = Cell::default();
}

/// How many outputs a task computes, for so many rows.
pub(crate) fn outputs_of_a_task(cpu: &Cpu, w: &Int8Weight, rows: usize) -> usize {
    let share = w.rows() / (2 * cpu.threads());
    let most = if rows < super::WIDE { super::STREAMED / w.cols().max(1) } else { 128 };
    share.min(most).next_multiple_of(GROUP * PANEL).max(GROUP * PANEL)
}

/// See [`CpuMatrix::product`](crate::cpu::CpuMatrix::product).
pub(crate) fn product(
    cpu: &Cpu,
    x: &Int8Rows,
    rows: Range<usize>,
    w: &Int8Weight,
    outputs: Range<usize>,
    emit: impl FnMut(usize, usize, &[f32]),
) {
    assert!(rows.end <= x.len() && outputs.end <= w.rows(), "rows and outputs");
    assert!(x.width() == w.cols(), "width of x");
    assert!(outputs.start.is_multiple_of(PANEL), "the first output of a panel");
    cpu.isa().run(Product { x, rows, w, outputs, emit });
}

/// A task.
struct Product<'a, F> {
    x: &'a Int8Rows,
    rows: Range<usize>,
    w: &'a Int8Weight,
    outputs: Range<usize>,
    emit: F,
}

impl<F: FnMut(usize, usize, &[f32])> Kernel for Product<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let mut memory = SUMS.take();
        let sums = memory.room(self.rows.len() * GROUP * LANES);
        let mut first = self.outputs.start;
        while first < self.outputs.end {
            let outputs = (self.outputs.end - first).min(GROUP * PANEL);
            // SAFETY: by the contract of the trait, and there is room for the sums of a group.
            unsafe {
                self.group::<S>(first / PANEL, outputs.div_ceil(PANEL), sums);
                for (i, row) in self.rows.clone().enumerate() {
                    let sums = sums.add(i * GROUP * LANES);
                    (self.emit)(row, first, std::slice::from_raw_parts(sums, outputs));
                }
            }
            first += outputs;
        }
        SUMS.set(memory);
    }
}

impl<F> Product<'_, F> {
    /// All sums of a group of panels, `[row, GROUP, lane]`.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, here and in all that follows.
    #[inline(always)]
    unsafe fn group<S: Simd>(&self, first: usize, panels: usize, sums: *mut f32) {
        let blocks = self.w.cols().div_ceil(BLOCK);
        let step = if self.rows.len() < MANY { blocks.max(1) } else { DEPTH };
        let mut from = 0;
        // Without a block, sums are still to be set to 0.
        while from < blocks.max(1) {
            let depth = from..blocks.min(from + step);
            let mut row = self.rows.start;
            while row < self.rows.end {
                // SAFETY: by the contract of this function; these rows have sums.
                row += unsafe {
                    let sums = sums.add((row - self.rows.start) * GROUP * LANES);
                    let at = (row, first, depth.clone());
                    match self.rows.end - row {
                        6.. if S::DOT_ROWS >= 6 => self.strip::<S, 6>(at, panels, sums),
                        4.. if S::DOT_ROWS >= 4 => self.strip::<S, 4>(at, panels, sums),
                        2.. => self.strip::<S, 2>(at, panels, sums),
                        _ => self.strip::<S, 1>(at, panels, sums),
                    }
                };
            }
            from += step;
        }
    }

    /// Adds some blocks of `R` rows and the panels of a group to their sums.
    #[inline(always)]
    unsafe fn strip<S: Simd, const R: usize>(
        &self,
        (row, first, depth): (usize, usize, Range<usize>),
        panels: usize,
        sums: *mut f32,
    ) -> usize {
        let mut done = 0;
        while done < panels {
            let at = (row, first + done, depth.clone());
            // SAFETY: by the contract of `group`; the panels have sums.
            done += unsafe {
                let sums = sums.add(done * LANES);
                match panels - done {
                    4.. if S::DOT_COLUMNS >= 4 => self.tile::<S, R, 4>(at, sums),
                    2.. if S::DOT_COLUMNS >= 2 => self.tile::<S, R, 2>(at, sums),
                    _ => self.tile::<S, R, 1>(at, sums),
                }
            };
        }
        R
    }

    /// Adds some blocks of `R` rows and `C` panels to their sums.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize>(
        &self,
        (row, panel, depth): (usize, usize, Range<usize>),
        sums: *mut f32,
    ) -> usize {
        let mut tiles = [std::ptr::null::<Tile>(); C];
        for c in 0..C {
            tiles[c] = self.w.panel(panel + c).as_ptr();
        }
        let (mut numbers, mut scales) = ([std::ptr::null::<[i8; BLOCK]>(); R], [&[][..]; R]);
        let mut starts = [&[][..]; R];
        for r in 0..R {
            let (of_row, scale, start) = self.x.row(row + r);
            (numbers[r], scales[r], starts[r]) = (of_row.as_ptr(), scale, start);
        }
        // SAFETY: rows and panels have these blocks, and sums.
        unsafe {
            if depth.start == 0 {
                for r in 0..R {
                    for c in 0..C {
                        S::store(sums.add((r * GROUP + c) * LANES), S::splat(0.0));
                    }
                }
            }
            for block in depth {
                let mut dots = [[S::splat_i32(0); C]; R];
                for r in 0..R {
                    dots[r] = [S::splat_i32(starts[r][block]); C];
                }
                for column in 0..BLOCK / 4 {
                    let mut at = [std::ptr::null(); C];
                    for c in 0..C {
                        at[c] = (&raw const (*tiles[c].add(block)).weights[column]).cast::<u8>();
                        if R <= 2 {
                            S::prefetch(at[c].wrapping_add(AHEAD * size_of::<Tile>()));
                        }
                    }
                    let mut weights = [S::load_weights(at[0]); C];
                    for c in 1..C {
                        weights[c] = S::load_weights(at[c]);
                    }
                    for r in 0..R {
                        let four = S::load_four(numbers[r].add(block).cast::<i8>().add(4 * column));
                        for c in 0..C {
                            dots[r][c] = S::add_dots(dots[r][c], weights[c], four);
                        }
                    }
                }
                for c in 0..C {
                    let scale_w = S::load((&raw const (*tiles[c].add(block)).scales).cast());
                    for r in 0..R {
                        let to = sums.add((r * GROUP + c) * LANES);
                        let dot = S::mul(S::from_i32(dots[r][c]), S::splat(scales[r][block]));
                        S::store(to, S::fma(dot, scale_w, S::load(to)));
                    }
                }
            }
        }
        C
    }
}
