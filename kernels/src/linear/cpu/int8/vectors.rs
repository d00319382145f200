//! Sums in registers: some rows meet some panels at a time.

use std::ops::Range;

use super::{GROUP, Sums, Terms};
use crate::cpu::int8::{BLOCK, Tile};
use crate::cpu::simd::{LANES, Simd};

/// The blocks of a group that many rows meet before the next: they stay in the first cache.
const DEPTH: usize = 4;

/// The rows from which blocks are met in this way. Fewer wait for memory, which comes fastest from front
/// to back.
pub(super) const MANY: usize = 4;

/// The tiles of weights that are asked for ahead where they come from memory.
const AHEAD: usize = 4;

/// Registers of sums.
pub(super) struct OnVectors;

impl<S: Simd> Sums<S> for OnVectors {
    #[inline(always)]
    unsafe fn group(terms: &Terms<'_>, first: usize, panels: usize, sums: *mut f32) {
        let blocks = terms.w.cols().div_ceil(BLOCK);
        let step = if terms.rows.len() < MANY { blocks.max(1) } else { DEPTH };
        let mut from = 0;
        // Without a block, sums are still to be set to 0.
        while from < blocks.max(1) {
            let depth = from..blocks.min(from + step);
            let mut row = terms.rows.start;
            while row < terms.rows.end {
                // SAFETY: by the contract of this function; these rows have sums.
                row += unsafe {
                    let sums = sums.add((row - terms.rows.start) * GROUP * LANES);
                    let at = (row, first, depth.clone());
                    match terms.rows.end - row {
                        6.. if S::DOT_ROWS >= 6 => terms.strip::<S, 6>(at, panels, sums),
                        4.. if S::DOT_ROWS >= 4 => terms.strip::<S, 4>(at, panels, sums),
                        2.. => terms.strip::<S, 2>(at, panels, sums),
                        _ => terms.strip::<S, 1>(at, panels, sums),
                    }
                };
            }
            from += step;
        }
    }
}

impl Terms<'_> {
    /// Adds some blocks of `R` rows and the panels of a group to their sums.
    ///
    /// # Safety
    /// That of [`Sums::group`], here and below.
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
