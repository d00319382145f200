//! Products of bf16, two neighbours at a time, with sums in `f32`.
//!
//! AVX-512 BF16 has an instruction for them. Elsewhere both numbers of a pair are widened, and two `fma` give
//! the same bits, but for magnitudes below 2^-126: the instruction takes them as zeros, before and after.

use super::Isa;
use super::simd::{Kernel, Simd};

/// Pairs of bf16 in each of sixteen lanes, beside the vectors of `S`.
///
/// # Safety
/// No function may be called where the processor lacks the instructions of `S` and of the pairs.
pub(crate) unsafe trait Pairs<S: Simd> {
    /// Thirty-two neighbours.
    type P: Copy;

    /// The rows of a tile of sums that fits into the registers.
    const ROWS: usize;

    /// Reads thirty-two neighbours, 64 bytes that need not be aligned.
    unsafe fn load(from: *const u8) -> Self::P;
    /// Adds to each lane the product of its second numbers, then that of its first, each with one rounding.
    unsafe fn add(sum: S::V, a: Self::P, b: Self::P) -> S::V;
}

/// Work on vectors and pairs: see [`Kernel`].
pub(crate) trait PairKernel {
    /// What it gives.
    type Output;

    /// Does the work, with the same rule for what it calls.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `P`.
    unsafe fn run<S: Simd, P: Pairs<S>>(self) -> Self::Output;
}

impl Isa {
    /// Runs a kernel on this set's vectors and pairs.
    ///
    /// # Panics
    /// When the processor does not have it.
    pub(crate) fn run_on_pairs<K: PairKernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Amx | Self::Avx512Bf16 => {
                assert!(self.is_here(), "{self}: this processor does not have it");
                // SAFETY: it is here.
                unsafe { native::run(kernel) }
            }
            _ => self.run(Widening(kernel)),
        }
    }
}

/// Pairs on vectors alone.
struct Widened;

// SAFETY: needs no instructions but those of `S`.
unsafe impl<S: Simd> Pairs<S> for Widened {
    type P = [S::V; 2];
    // Widened weights take twice as many registers as weights of `f32` do.
    const ROWS: usize = S::ROWS.div_ceil(2);

    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self::P {
        // SAFETY: by the contract of the trait.
        unsafe { S::load_bf16_pairs(from) }
    }
    #[inline(always)]
    unsafe fn add(sum: S::V, a: Self::P, b: Self::P) -> S::V {
        // SAFETY: by the contract of the trait.
        unsafe { S::fma(a[0], b[0], S::fma(a[1], b[1], sum)) }
    }
}

/// A kernel whose pairs are widened.
struct Widening<K>(K);

impl<K: PairKernel> Kernel for Widening<K> {
    type Output = K::Output;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> K::Output {
        // SAFETY: by the contract of the trait.
        unsafe { self.0.run::<S, Widened>() }
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use std::arch::x86_64::*;

    use super::{PairKernel, Pairs};
    use crate::cpu::avx512::Avx512;

    /// Runs a kernel on AVX-512 BF16.
    ///
    /// # Safety
    /// The processor has it: [`Isa::Avx512Bf16`](super::Isa::Avx512Bf16) is among those detected.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,fma,f16c")]
    pub(super) unsafe fn run<K: PairKernel>(kernel: K) -> K::Output {
        // SAFETY: by the contract of this function.
        unsafe { kernel.run::<Avx512<true>, Native>() }
    }

    /// The instruction.
    struct Native;

    // SAFETY: each function is one instruction of the set, which callers prove to be there.
    unsafe impl Pairs<Avx512<true>> for Native {
        type P = __m512bh;
        const ROWS: usize = 6;

        #[inline(always)]
        unsafe fn load(from: *const u8) -> __m512bh {
            // SAFETY: by the contract of the trait; both are 64 bytes.
            unsafe { std::mem::transmute(_mm512_loadu_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn add(sum: __m512, a: __m512bh, b: __m512bh) -> __m512 {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_dpbf16_ps(sum, a, b) }
        }
    }
}
