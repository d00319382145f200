//! Products of tiles: four sums at a time, which hide how long one of them takes.

use latent_kernels::cpu::Simd;
use latent_kernels::cpu::tiles::{TILE_ROWS, Tiles};

/// The sums that are open at once, in tiles 0 to 3; tiles 4 and 5 hold rows, 6 and 7 columns.
pub(super) const OPEN: usize = 4;

/// Neighbouring tiles and what they are followed by in a product, each distance in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Operand {
    pub(super) first: *const u8,
    /// From a row of a tile to the next.
    pub(super) row: usize,
    /// From a tile to its neighbour.
    pub(super) tile: usize,
    /// From a tile to the one that is multiplied next.
    pub(super) step: usize,
}

/// Where sums are written, each distance in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sums {
    pub(super) first: *mut u8,
    /// From a row of a tile to the next.
    pub(super) row: usize,
    /// From the sums of a tile of rows to those of its neighbour.
    pub(super) down: usize,
    /// From the sums of a tile of columns to those of its neighbour.
    pub(super) across: usize,
}

/// Writes the sums of `OPEN / ACROSS` tiles of rows and `ACROSS` of columns, each of `depth` products, one
/// after the other. What lies `ahead` bytes behind the rows is asked for meanwhile, unless that is 0.
///
/// # Safety
/// The processor has the instructions of `S` and `T`, all tiles are whole, and there is such memory.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, T: Tiles, const ACROSS: usize>(
    tiles: &mut T,
    rows: Operand,
    columns: Operand,
    depth: usize,
    to: Sums,
    ahead: isize,
) {
    macro_rules! each {
        ($do:ident) => {
            match ACROSS {
                1 => {
                    $do!(0, 0, 4, 0, 6);
                    $do!(1, 1, 5, 0, 6);
                    $do!(2, 2, 4, 0, 6);
                    $do!(3, 3, 5, 0, 6);
                }
                2 => {
                    $do!(0, 0, 4, 0, 6);
                    $do!(1, 0, 4, 1, 7);
                    $do!(2, 1, 5, 0, 6);
                    $do!(3, 1, 5, 1, 7);
                }
                _ => {
                    $do!(0, 0, 4, 0, 6);
                    $do!(1, 0, 4, 1, 7);
                    $do!(2, 0, 4, 2, 6);
                    $do!(3, 0, 4, 3, 7);
                }
            }
        };
    }
    // SAFETY: by the contract of this function.
    unsafe {
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
        for at in 0..depth {
            macro_rules! multiply {
                ($sum:literal, $i:literal, $row:literal, $j:literal, $column:literal) => {
                    // A tile is loaded where it is met first.
                    if $j == 0 {
                        let from = rows.first.add($i * rows.tile + at * rows.step);
                        tiles.load::<$row>(from, rows.row);
                        if ahead != 0 {
                            for row in 0..TILE_ROWS {
                                let behind = from.wrapping_add(row * rows.row);
                                S::prefetch_far(behind.wrapping_offset(ahead));
                            }
                        }
                    }
                    if $i == 0 {
                        let from = columns.first.add($j * columns.tile + at * columns.step);
                        tiles.load::<$column>(from, columns.row);
                    }
                    tiles.tdpbf16ps::<$sum, $row, $column>();
                };
            }
            each!(multiply);
        }
        macro_rules! store {
            ($sum:literal, $i:literal, $row:literal, $j:literal, $column:literal) => {
                tiles.store::<$sum>(to.first.add($i * to.down + $j * to.across), to.row);
            };
        }
        each!(store);
    }
}
