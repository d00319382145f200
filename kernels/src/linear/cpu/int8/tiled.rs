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

/// The tiles of weights that are asked for ahead when they are met first: they come from memory.
const AHEAD: usize = 4;

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
    /// Adds all blocks of up to 16 rows and the panels of a group to their sums: while a block's sums are scaled,
    /// those of the next are made.
    ///
    /// # Safety
    /// That of [`Sums::group`], here and below.
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
        let streamed = rows.start == self.rows.start;
        let numbers = self.x.numbers(rows.clone());
        let blocks = numbers.len() / rows.len();
        let mut shapes = Shapes { rows: [TILE_ROWS; TILES], bytes: [ROW_BYTES; TILES] };
        shapes.rows[..=X].fill(rows.len());
        let mut dots: [Dots; 2] = [[[[0; PANEL]; TILE_ROWS]; GROUP]; 2];
        // SAFETY: by the contract of this function; rows and panels have these blocks, and sums; who takes
        // the sums is called when these tiles are released.
        unsafe {
            let mut tiles = T::configure(&shapes);
            for block in 0..=blocks {
                if block < blocks {
                    let dots = &mut dots[block % 2];
                    tiles.load::<X>(numbers.as_ptr().add(block).cast(), blocks * BLOCK);
                    macro_rules! multiply {
                        ($panel:literal, $w:literal) => {
                            if $panel < panels {
                                let w = weights[$panel].add(block);
                                tiles.load::<$w>((&raw const (*w).weights).cast(), ROW_BYTES);
                                if streamed {
                                    for line in 0..size_of::<Tile>() / ROW_BYTES {
                                        let ahead = AHEAD * size_of::<Tile>() + line * ROW_BYTES;
                                        S::prefetch(w.cast::<u8>().wrapping_add(ahead));
                                    }
                                }
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
                }
                if block > 0 {
                    let dots = &dots[(block - 1) % 2];
                    match panels {
                        GROUP => self.add_block::<S, GROUP>(&rows, &weights, block - 1, dots, sums),
                        3 => self.add_block::<S, 3>(&rows, &weights, block - 1, dots, sums),
                        2 => self.add_block::<S, 2>(&rows, &weights, block - 1, dots, sums),
                        _ => self.add_block::<S, 1>(&rows, &weights, block - 1, dots, sums),
                    }
                }
            }
        }
    }

    /// Adds the sums of a block, scaled, to those of `P` panels.
    #[inline(always)]
    unsafe fn add_block<S: Simd, const P: usize>(
        &self,
        rows: &Range<usize>,
        weights: &[*const Tile; GROUP],
        block: usize,
        dots: &Dots,
        sums: *mut f32,
    ) {
        // SAFETY: by the contract of this function.
        unsafe {
            let mut scales_w = [S::splat(0.0); P];
            for c in 0..P {
                scales_w[c] = S::load((&raw const (*weights[c].add(block)).scales).cast());
            }
            let blocks = self.x.width().div_ceil(BLOCK);
            let (scales, starts) = self.x.scales(rows.clone());
            for r in 0..rows.len() {
                let scale = S::splat(*scales.as_ptr().add(r * blocks + block));
                let start = S::splat_i32(*starts.as_ptr().add(r * blocks + block));
                for c in 0..P {
                    let dot = S::add_i32(S::load_i32(dots[c][r].as_ptr()), start);
                    let to = sums.add((r * GROUP + c) * LANES);
                    let dot = S::mul(S::from_i32(dot), scale);
                    S::store(to, S::fma(dot, scales_w[c], S::load(to)));
                }
            }
        }
    }
}
