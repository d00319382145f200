//! Products of tiles: up to four sums at a time, which hide how long one of them takes.

use latent_kernels::cpu::Simd;
use latent_kernels::cpu::tiles::{TILE_ROWS, Tiles};

use super::ahead::Ahead;

/// The most sums that are open at once, in tiles 0 to 3; tiles 4 and 5 hold rows, 6 and 7 columns.
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

impl Operand {
    /// Asks for the tile behind one: the nearest cache has it when it is loaded.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn ask_behind<S: Simd>(&self, tile: *const u8) {
        for row in 0..TILE_ROWS {
            // SAFETY: by the contract of this function.
            unsafe { S::prefetch(tile.wrapping_add(self.step + row * self.row)) };
        }
    }
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

/// The lines that are asked for with each tile of rows: those of a page are as many as rows of tiles, and half of
/// them are left to what follows.
const ASKED: usize = TILE_ROWS / 2;

/// Calls a macro with each sum of some tiles of rows and columns: its tile, that of its row and of its column.
macro_rules! each_sum {
    ($rows:expr, $columns:expr, $do:ident) => {
        match ($rows, $columns) {
            (4, 1) => {
                $do!(0, 0, 4, 0, 6);
                $do!(1, 1, 5, 0, 6);
                $do!(2, 2, 4, 0, 6);
                $do!(3, 3, 5, 0, 6);
            }
            (2, 2) => {
                $do!(0, 0, 4, 0, 6);
                $do!(1, 0, 4, 1, 7);
                $do!(2, 1, 5, 0, 6);
                $do!(3, 1, 5, 1, 7);
            }
            (1, 4) => {
                $do!(0, 0, 4, 0, 6);
                $do!(1, 0, 4, 1, 7);
                $do!(2, 0, 4, 2, 6);
                $do!(3, 0, 4, 3, 7);
            }
            (1, 2) => {
                $do!(0, 0, 4, 0, 6);
                $do!(1, 0, 4, 1, 7);
            }
            _ => unreachable!("other tiles"),
        }
    };
}

/// Sets all sums to 0.
///
/// # Safety
/// The processor has the instructions of `T`.
#[inline(always)]
pub(super) unsafe fn open<T: Tiles>(tiles: &mut T) {
    // SAFETY: by the contract of this function.
    unsafe {
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
    }
}

/// Adds `depth` products to the sums of each of `ROWS` tiles with each of `COLUMNS`, one after the other;
/// some of what lies `ahead` is asked for meanwhile.
///
/// # Safety
/// The processor has the instructions of `S` and `T`, all tiles are whole, and there is such memory.
#[inline(always)]
pub(super) unsafe fn accumulate<S: Simd, T: Tiles, const ROWS: usize, const COLUMNS: usize>(
    tiles: &mut T,
    rows: Operand,
    columns: Operand,
    depth: usize,
    ahead: &mut Ahead,
) {
    for at in 0..depth {
        macro_rules! multiply {
            ($sum:literal, $i:literal, $row:literal, $j:literal, $column:literal) => {
                // A tile is loaded where it is met first.
                if $j == 0 {
                    let from = rows.first.add($i * rows.tile + at * rows.step);
                    tiles.load::<$row>(from, rows.row);
                    rows.ask_behind::<S>(from);
                    ahead.ask::<S>(ASKED);
                }
                if $i == 0 {
                    let from = columns.first.add($j * columns.tile + at * columns.step);
                    tiles.load::<$column>(from, columns.row);
                }
                tiles.tdpbf16ps::<$sum, $row, $column>();
            };
        }
        // SAFETY: by the contract of this function.
        unsafe { each_sum!(ROWS, COLUMNS, multiply) };
    }
}

/// Writes the sums.
///
/// # Safety
/// As [`accumulate`].
#[inline(always)]
pub(super) unsafe fn store<T: Tiles, const ROWS: usize, const COLUMNS: usize>(tiles: &T, to: Sums) {
    macro_rules! store {
        ($sum:literal, $i:literal, $row:literal, $j:literal, $column:literal) => {
            tiles.store::<$sum>(to.first.add($i * to.down + $j * to.across), to.row);
        };
    }
    // SAFETY: by the contract of this function.
    unsafe { each_sum!(ROWS, COLUMNS, store) };
}
