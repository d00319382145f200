//! Tiles: registers of up to sixteen rows of 64 bytes, and products of matrices on them, as Intel's AMX
//! has them.
//!
//! A kernel is written once against [`Tiles`], and runs on the processor's or on emulated ones:
//! see [`Bf16Tiles`].

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
pub const TILES: usize = 8;

/// The most rows of a tile.
pub const TILE_ROWS: usize = 16;

/// The most bytes of a row.
pub const ROW_BYTES: usize = 64;

/// The rows of each tile, and the bytes of each of its rows.
#[derive(Debug, Clone, Copy)]
pub struct Shapes {
    /// The rows of each tile.
    pub rows: [usize; TILES],
    /// The bytes of each of its rows.
    pub bytes: [usize; TILES],
}

impl Shapes {
    /// Every tile as large as one can be.
    pub const WHOLE: Self = Self { rows: [TILE_ROWS; TILES], bytes: [ROW_BYTES; TILES] };
}

/// Eight tiles, which belong to a thread until they are dropped. They are zeros at first.
///
/// # Safety
/// No function may be called where the processor lacks the instructions, nor while the thread holds other
/// tiles. Numbers of tiles are below [`TILES`]. Those that load or store reach over the rows of the tile's
/// shape, which lie `stride` bytes apart and need not be aligned.
#[expect(clippy::missing_safety_doc, reason = "all share the contract of the trait")]
pub unsafe trait Tiles: Sized {
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

/// Work on vectors and tiles: see [`Kernel`] and [`Bf16Tiles`].
pub trait TileKernel {
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

/// Tiles for operations of your own, handed out where products are [rounded to bf16](super::Cpu::bf16_tiles).
///
/// ```
/// use latent_kernels::cpu::tiles::{Shapes, TileKernel, Tiles};
/// use latent_kernels::cpu::{Cpu, Simd};
/// struct Squares<'a>(&'a mut [f32; 256]);
/// impl TileKernel for Squares<'_> {
///     type Output = ();
///     unsafe fn run<S: Simd, T: Tiles>(self) {
///         let twos = [0x4000_u16; 512]; // 2 in bf16
///         // SAFETY: by the contract of the trait; each tile is 16 rows of 64 bytes.
///         unsafe {
///             let mut tiles = T::configure(&Shapes::WHOLE);
///             tiles.load::<1>(twos.as_ptr().cast(), 64);
///             tiles.load::<2>(twos.as_ptr().cast(), 64);
///             tiles.tdpbf16ps::<0, 1, 2>();
///             tiles.store::<0>(self.0.as_mut_ptr().cast(), 64);
///         }
///     }
/// }
/// let mut sums = [0.0; 256];
/// match Cpu::new().bf16().bf16_tiles() {
///     Some(tiles) => tiles.run(Squares(&mut sums)),
///     None => sums.fill(128.0),
/// }
/// assert_eq!(sums, [32.0 * 2.0 * 2.0; 256]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Bf16Tiles {
    set: TileSet,
    isa: Isa,
}

impl Bf16Tiles {
    /// Runs a kernel on these tiles and the vectors beside them.
    pub fn run<K: TileKernel>(self, kernel: K) -> K::Output {
        self.set.run(self.isa, kernel)
    }
}

impl super::Cpu {
    /// What attention is computed on in bf16: tiles where there are any and products are in [bf16](Self::bf16).
    /// In [8 bits](Self::int8) it stays in `f32`: that small differences between its two forms grow when they
    /// are rounded to 8 bits would show in the tokens.
    ///
    /// ```
    /// use latent_kernels::cpu::{Cpu, Isa};
    /// assert!(Cpu::new().bf16_tiles().is_none() && Cpu::new().int8().bf16_tiles().is_none());
    /// assert_eq!(Cpu::new().bf16().bf16_tiles().is_some(), Isa::best() == Isa::Amx);
    /// ```
    #[must_use]
    pub fn bf16_tiles(&self) -> Option<Bf16Tiles> {
        let rounded = self.products == super::Products::Bf16;
        self.tiles.filter(|_| rounded).map(|set| Bf16Tiles { set, isa: self.isa })
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
