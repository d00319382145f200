//! The fast backend for processors.
//!
//! | you want | look at |
//! | --- | --- |
//! | to run on this machine | [`Cpu::new`] |
//! | to choose instructions and threads | [`Cpu::with`], [`Isa`] |
//! | to multiply in bf16, for speed | [`Cpu::bf16`] |
//! | to halve the bytes of weights again | [`Cpu::int8`] |
//! | to write an operation of your own | [`Kernel`], [`Simd`], [`tiles`], [`Pool`], [`Rows`], [`Parts`], [`CpuMatrix::product`], [`silu_in_place`](crate::swiglu::cpu::silu_in_place) |
//!
//! Activations are `f32`. Weights stay where they lie, a mapped file for one, in their stored dtype,
//! and are widened in registers: nothing is copied or converted on loading. With [`Cpu::int8`] they are
//! rounded to 8 bits instead, and products are those of whole numbers.
//!
//! Results have the same bits on any number of threads and in any batch; and on every instruction set
//! that [shares them](Isa::shares_bits).
//!
//! ```
//! use latent_kernels::{Backend, Dtype, Weight};
//! use latent_kernels::cpu::Cpu;
//! let cpu = Cpu::new();
//! let w = cpu.matrix(Weight::encode(Dtype::Bf16, [1, 2], &[10.0_f32, 1.0])?)?;
//! let x = cpu.upload(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
//! assert_eq!(cpu.download(&cpu.linear(&x, &w)?)?, [12.0, 34.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

#![expect(
    unsafe_code,
    reason = "vector instructions and threads that share memory; each block says why it is sound"
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::{Cost, KernelError, Ledger};

mod avx2;
mod avx512;
mod backend;
pub(crate) mod bf16;
mod dots;
pub(crate) mod int8;
mod isa;
pub(crate) mod matmul;
mod matrix;
mod memory;
mod neon;
pub(crate) mod pairs;
mod peaks;
mod pool;
mod portable;
pub(crate) mod simd;
pub(crate) mod split;
pub(crate) mod stored;
pub mod tiles;

pub use bf16::{Bf16Columns, round_line};
pub use dots::Dots;
pub use int8::Int8Weight;
pub use isa::Isa;
pub use matmul::{Bf16Product, View, add_bf16_products, add_matmul, bf16_products};
pub use matrix::{CpuMatrix, Inputs};
pub(crate) use memory::filled_all;
pub use memory::{Parts, Rows, filled};
pub use pool::Pool;
pub use simd::{Kernel, LANES, Register, Simd, add_products, exp, silu};
pub(crate) use tiles::TileSet;

pub use stored::{Bf16, E4m3, Element, F16, F32, I8};

/// This machine's processor: its fastest instructions and all its cores, or those asked for.
///
/// Clones share the threads.
#[derive(Debug, Clone)]
pub struct Cpu {
    isa: Isa,
    /// What products of matrices run on where vectors are not all there is.
    tiles: Option<TileSet>,
    products: Products,
    pool: Arc<Pool>,
    ledger: Arc<Mutex<Ledger>>,
}

/// What products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Products {
    F32,
    Bf16,
    Int8,
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Cpu {
    /// The fastest instructions that this processor has, on all its cores.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Isa::best(), Self::cores())
    }

    /// The cores that this process may use.
    #[must_use]
    pub fn cores() -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    /// The given instructions on so many threads.
    ///
    /// ```
    /// use latent_kernels::cpu::{Cpu, Isa};
    /// assert_eq!(Cpu::with(Isa::Portable, 2)?.threads(), 2);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    ///
    /// # Errors
    /// [`KernelError::Setting`] when this processor does not have them, or there is no thread.
    pub fn with(isa: Isa, threads: usize) -> Result<Self, KernelError> {
        let wrong = |name: &str, found: String, wanted: String| {
            Err(KernelError::Setting { name: name.into(), found, wanted })
        };
        if !isa.is_here() {
            let here: Vec<String> = Isa::detected().iter().map(Isa::to_string).collect();
            return wrong("isa", isa.to_string(), format!("one of {}", here.join(", ")));
        }
        if threads == 0 {
            return wrong("threads", "0".into(), "at least 1".into());
        }
        Ok(Self::of(isa, threads))
    }

    fn of(isa: Isa, threads: usize) -> Self {
        let tiles = (isa == Isa::Amx).then_some(TileSet::Native);
        Self {
            isa,
            tiles,
            products: Products::F32,
            pool: Arc::new(Pool::new(threads)),
            ledger: Arc::default(),
        }
    }

    /// The same threads and instructions, products in bf16: activations are rounded to the nearest bf16 when
    /// they meet weights that are stored in bf16 without scales, or in e4m3 with one scale or blocks a multiple
    /// of 32 columns wide; sums are `f32`. Other weights, and those that
    /// [`Backend::exact`](crate::Backend::exact) takes, have products as before. On [tiles](Self::bf16_tiles), attention is in bf16, too.
    ///
    /// It pays where the processor multiplies bf16 faster than `f32`: on [`Isa::Avx512Bf16`] and
    /// [`Isa::Amx`]. Activations beyond 3.39e38 become infinite; magnitudes below 2^-126 may count as 0.
    ///
    /// ```
    /// use latent_kernels::{Backend, Dtype, Weight};
    /// use latent_kernels::cpu::Cpu;
    /// let cpu = Cpu::new().bf16();
    /// let w = cpu.matrix(Weight::encode(Dtype::Bf16, [1, 2], &[10.0_f32, 1.0])?)?;
    /// let x = cpu.upload(&[1.0, 2.001], &[1, 2])?;
    /// assert_eq!(cpu.download(&cpu.linear(&x, &w)?)?, [12.0]);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    #[must_use]
    pub fn bf16(self) -> Self {
        Self { products: Products::Bf16, ..self }
    }

    /// The same threads and instructions, products in 8 bits: weights that are taken over from here on are
    /// rounded, one scale for each row and 64 columns, and activations when they meet them.
    ///
    /// [`Backend::exact`](crate::Backend::exact) still keeps a weight as it is stored.
    ///
    /// ```
    /// use latent_kernels::{Backend, Dtype, Weight};
    /// use latent_kernels::cpu::Cpu;
    /// let cpu = Cpu::new().int8();
    /// let w = cpu.matrix(Weight::encode(Dtype::Bf16, [1, 2], &[127.0_f32, 2.25])?)?;
    /// let x = cpu.upload(&[1.0, 1.0], &[1, 2])?;
    /// assert_eq!(cpu.download(&cpu.linear(&x, &w)?)?, [129.0]);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    #[must_use]
    pub fn int8(self) -> Self {
        Self { products: Products::Int8, ..self }
    }

    /// The same threads and instructions, and products of matrices on emulated tiles: what they give on
    /// [`Isa::Amx`], to the bit, thousands of times slower.
    ///
    /// ```
    /// use latent_kernels::{Backend, Dtype, Weight};
    /// use latent_kernels::cpu::Cpu;
    /// let cpu = Cpu::new().on_emulated_tiles();
    /// let w = cpu.matrix(Weight::encode(Dtype::Bf16, [1, 2], &[10.0_f32, 1.0])?)?;
    /// let x = cpu.upload(&[1.0, 2.0], &[1, 2])?;
    /// assert_eq!(cpu.download(&cpu.linear(&x, &w)?)?, [12.0]);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    #[cfg(feature = "suite")]
    #[must_use]
    pub fn on_emulated_tiles(self) -> Self {
        Self { tiles: Some(TileSet::Emulated), ..self }
    }

    /// What products of matrices run on where vectors are not all there is.
    pub(crate) fn tiles(&self) -> Option<TileSet> {
        self.tiles
    }

    /// The instructions that kernels run on.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Counts what an operation costs: see [`Backend::take_ledger`](crate::Backend::take_ledger).
    pub fn record(&self, operation: &'static str, cost: Cost) {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).record(operation, cost);
    }

    /// The threads, for operations of your own.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}
