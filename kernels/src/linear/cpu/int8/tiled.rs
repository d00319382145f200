//! Sums on tiles: one instruction multiplies a block of up to 16 rows with one of 16 outputs.

use std::marker::PhantomData;
use std::ops::Range;

use super::{GROUP, Sums, Terms};
use crate::cpu::int8::{BLOCK, PANEL, Tile};
use crate::cpu::simd::{LANES, Simd};
use crate::cpu::tiles::{ROW_BYTES, Shapes, TILE_ROWS, TILES, Tiles};

/// Tiles 0 to 3 hold the sums of a block, one for each panel, and 5 to 7 weights.
pub(super) struct OnTiles<T>(PhantomData<T>);

/// The tile of activations.
const X: usize = 4;

/// The sums of a block, `[panel, row, output]`.
type Dots = [[[i32; PANEL]; TILE_ROWS]; GROUP];

impl<S: Simd, T: Tiles> Sums<S> for OnTiles<T> {
    #[inline(always)]
    unsafe fn group(terms: &Terms<'_>, first: usize, panels: usize, sums: *mut f32) {
        let mut row = terms.rows.start;
        while row < terms.rows.end {
            let rows = row..terms.rows.end.min(row + TILE_ROWS);
            // SAFETY: by the contract of the trait; these rows have sums.
            unsafe {
                let sums = sums.add((row - terms.rows.start) * GROUP * LANES);
                sums.write_bytes(0, rows.len() * GROUP * LANES);
                terms.tiled::<S, T>(rows.clone(), first, panels, sums);
            }
            row = rows.end;
        }
    }
}

impl Terms<'_> {
    /// Adds all blocks of up to 16 rows and the panels of a group to their sums.
    ///
    /// # Safety
    /// That of [`Sums::group`].
    #[inline(always)]
    unsafe fn tiled<S: Simd, T: Tiles>(
        &self,
        rows: Range<usize>,
        first: usize,
        panels: usize,
        sums: *mut f32,
    ) {
        let mut weights = [std::ptr::null::<Tile>(); GROUP];
        for c in 0..panels {
            weights[c] = self.w.panel(first + c).as_ptr();
        }
        let (mut scales, mut starts) = ([&[][..]; TILE_ROWS], [&[][..]; TILE_ROWS]);
        for r in 0..rows.len() {
            (_, scales[r], starts[r]) = self.x.row(rows.start + r);
        }
        let numbers = self.x.numbers(rows.clone());
        let blocks = numbers.len() / rows.len();
        let mut shapes = Shapes { rows: [TILE_ROWS; TILES], bytes: [ROW_BYTES; TILES] };
        shapes.rows[..=X].fill(rows.len());
        let mut dots: Dots = [[[0; PANEL]; TILE_ROWS]; GROUP];
        // SAFETY: by the contract of this function; rows and panels have these blocks, and sums; who takes
        // the sums is called when these tiles are released.
        unsafe {
            let mut tiles = T::configure(&shapes);
            for block in 0..blocks {
                tiles.load::<X>(numbers.as_ptr().add(block).cast(), blocks * BLOCK);
                macro_rules! multiply {
                    ($panel:literal, $w:literal) => {
                        if $panel < panels {
                            let w = &raw const (*weights[$panel].add(block)).weights;
                            tiles.load::<$w>(w.cast(), ROW_BYTES);
                            tiles.zero::<$panel>();
                            tiles.tdpbsud::<$panel, X, $w>();
                            tiles.store::<$panel>(dots[$panel].as_mut_ptr().cast(), ROW_BYTES);
                        }
                    };
                }
                multiply!(0, 5);
                multiply!(1, 6);
                multiply!(2, 7);
                multiply!(3, 5);
                for c in 0..panels {
                    let scale_w = S::load((&raw const (*weights[c].add(block)).scales).cast());
                    for r in 0..rows.len() {
                        let dots = &mut dots[c][r];
                        for lane in 0..LANES {
                            dots[lane] += starts[r][block];
                        }
                        let dot = S::from_i32(S::load_i32(dots.as_ptr()));
                        let dot = S::mul(dot, S::splat(scales[r][block]));
                        let to = sums.add((r * GROUP + c) * LANES);
                        S::store(to, S::fma(dot, scale_w, S::load(to)));
                    }
                }
            }
        }
    }
}
