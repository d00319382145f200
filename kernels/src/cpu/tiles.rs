//! Tiles: registers of up to sixteen rows of 64 bytes, and products of matrices on them, as Intel's AMX
//! has them.
//!
//! A kernel is written once against [`Tiles`], and runs on the processor's or on emulated ones.

use std::marker::PhantomData;

use super::Isa;
use super::simd::{Kernel, Simd};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(super) mod amx;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod check;
mod emulated;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use amx::Amx as Native;
// Stands where it is never chosen.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
use emulated::Emulated as Native;

/// The tiles there are.
pub(crate) const TILES: usize = 8;

/// The most rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// The most bytes of a row.
pub(crate) const ROW_BYTES: usize = 64;

/// The rows of each tile, and the bytes of each of its rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shapes {
    pub(crate) rows: [usize; TILES],
    pub(crate) bytes: [usize; TILES],
}

/// Eight tiles, which belong to a thread until they are dropped. They are zeros at first.
///
/// # Safety
/// No function may be called where the processor lacks the instructions, nor while the thread holds other
/// tiles. Numbers of tiles are below [`TILES`]. Those that load or store reach over the rows of the tile's
/// shape, which lie `stride` bytes apart and need not be aligned.
pub(crate) unsafe trait Tiles: Sized {
    /// Tiles of these shapes, each at least a row and at most [`TILE_ROWS`], of whole words of 4 bytes up
    /// to [`ROW_BYTES`].
    unsafe fn configure(shapes: &Shapes) -> Self;
    /// Sets a tile to zeros.
    unsafe fn zero<const T: usize>(&mut self);
    /// Reads the rows of a tile.
    unsafe fn load<const T: usize>(&mut self, from: *const u8, stride: usize);
    /// Writes the rows of a tile.
    unsafe fn store<const T: usize>(&self, to: *mut u8, stride: usize);
    /// Adds to `C[m][n]`, an `f32`, the products of `A[m][2k]` with `B[k][2n]` and of `A[m][2k + 1]` with
    /// `B[k][2n + 1]`, all of bf16. Values below the normal numbers are zeros, before and after.
    ///
    /// The three tiles are different ones whose shapes fit: as many rows of `C` as of `A`, as many bytes in
    /// a row of `C` as of `B`, and as many words in a row of `A` as rows of `B`.
    unsafe fn tdpbf16ps<const C: usize, const A: usize, const B: usize>(&mut self);
    /// Adds to `C[m][n]`, a whole number of 32 bits, the products of four signed bytes of `A[m][k]` with
    /// the four unsigned ones of `B[k][n]`, for tiles as above.
    unsafe fn tdpbsud<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// Work on vectors and tiles: see [`Kernel`].
pub(crate) trait TileKernel {
    /// What it gives.
    type Output;

    /// Does the work, with the same rule for what it calls.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `T`.
    unsafe fn run<S: Simd, T: Tiles>(self) -> Self::Output;
}

/// Which tiles products are computed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TileSet {
    /// The processor's: [`Isa::Amx`] is among those detected.
    Native,
    /// Emulated ones, with the same results.
    #[cfg(feature = "suite")]
    Emulated,
}

impl TileSet {
    /// Runs a kernel on these tiles, and on the vectors of `isa`.
    pub(crate) fn run<K: TileKernel>(self, isa: Isa, kernel: K) -> K::Output {
        match self {
            Self::Native => isa.run(On::<Native, K> { kernel, tiles: PhantomData }),
            #[cfg(feature = "suite")]
            Self::Emulated => isa.run(On::<emulated::Emulated, K> { kernel, tiles: PhantomData }),
        }
    }
}

/// A kernel whose tiles are chosen.
struct On<T, K> {
    kernel: K,
    tiles: PhantomData<T>,
}

impl<T: Tiles, K: TileKernel> Kernel for On<T, K> {
    type Output = K::Output;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> K::Output {
        // SAFETY: by the contract of the trait for `S`; who chose `T` knows that it is there.
        unsafe { self.kernel.run::<S, T>() }
    }
}
