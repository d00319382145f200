//! Products of bf16, two neighbours at a time, with sums in `f32`.
//!
//! AVX-512 BF16 has an instruction for them. Elsewhere both numbers of a pair are widened, and two `fma` give
//! the same bits, but for magnitudes below 2^-126: the instruction takes them as zeros, before and after.

use super::Isa;
use super::bf16::{COLUMNS, nearest};
use super::simd::{Kernel, LANES, Simd};
use crate::Dtype;

/// The bf16 that is a 256th of each e4m3.
static E4M3_256TH: [u16; 256] = {
    let (mut table, mut bits) = ([0; 256], 0_u8);
    loop {
        table[bits as usize] = nearest(Dtype::e4m3(bits) / 256.0);
        if bits == u8::MAX {
            break table;
        }
        bits += 1;
    }
};

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
    /// A pair, which 4 bytes are that need not be aligned, in each lane.
    unsafe fn splat(from: *const u8) -> Self::P;
    /// Two loads of e4m3, sixty-four neighbours, each a 256th of its value.
    unsafe fn load_e4m3_256th(from: *const u8) -> [Self::P; 2];
    /// Writes sixty-four e4m3 as bf16, each a 256th of its value.
    unsafe fn widen_e4m3_256th(from: *const u8, to: *mut u8);
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
    unsafe fn splat(from: *const u8) -> Self::P {
        // SAFETY: by the contract of the trait.
        unsafe {
            // Memory has the first of a pair in its lower bytes.
            let pair = u32::from_le_bytes(from.cast::<[u8; 4]>().read());
            [S::splat(f32::from_bits(pair << 16)), S::splat(f32::from_bits(pair & !0xffff))]
        }
    }
    #[inline(always)]
    unsafe fn load_e4m3_256th(from: *const u8) -> [Self::P; 2] {
        let mut bytes = [[[0_u8; LANES]; 2]; 2];
        // SAFETY: by the contract of the trait; each array is a vector's.
        unsafe {
            let pairs = from.cast::<[[[u8; 2]; LANES]; 2]>().read();
            for line in 0..2 {
                for lane in 0..LANES {
                    bytes[line][0][lane] = pairs[line][lane][0];
                    bytes[line][1][lane] = pairs[line][lane][1];
                }
            }
            let [[a, b], [c, d]] = &bytes;
            [
                [S::load_e4m3_256th(a.as_ptr()), S::load_e4m3_256th(b.as_ptr())],
                [S::load_e4m3_256th(c.as_ptr()), S::load_e4m3_256th(d.as_ptr())],
            ]
        }
    }
    #[inline(always)]
    unsafe fn widen_e4m3_256th(from: *const u8, to: *mut u8) {
        for i in 0..2 * COLUMNS {
            // SAFETY: by the contract of the trait.
            unsafe {
                let bits = E4M3_256TH[usize::from(from.add(i).read())];
                to.cast::<u16>().add(i).write_unaligned(bits);
            }
        }
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

    use super::{E4M3_256TH, PairKernel, Pairs};
    use crate::cpu::avx512::Avx512;

    /// Runs a kernel on AVX-512 BF16.
    ///
    /// # Safety
    /// The processor has it: [`Isa::Avx512Bf16`](super::Isa::Avx512Bf16) is among those detected.
    #[target_feature(
        enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,avx512vbmi,fma,f16c"
    )]
    pub(super) unsafe fn run<K: PairKernel>(kernel: K) -> K::Output {
        // SAFETY: by the contract of this function.
        unsafe { kernel.run::<Avx512<true>, Native>() }
    }

    /// The low and the high bytes of the bf16 that are a 256th of each e4m3 that is not negative.
    static LOW: [u8; 128] = bytes_of_e4m3(0);
    static HIGH: [u8; 128] = bytes_of_e4m3(1);

    const fn bytes_of_e4m3(byte: usize) -> [u8; 128] {
        let (mut table, mut bits) = ([0; 128], 0);
        while bits < table.len() {
            table[bits] = E4M3_256TH[bits].to_le_bytes()[byte];
            bits += 1;
        }
        table
    }

    /// A register as pairs of bf16.
    #[inline(always)]
    fn line(bits: __m512i) -> __m512bh {
        // SAFETY: both are 64 bytes, and any bits are pairs of bf16.
        unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
    }

    /// The byte of a table at each place that the low seven bits of a byte say.
    ///
    /// # Safety
    /// The processor has VBMI.
    #[inline(always)]
    unsafe fn looked_up(table: &[u8; 128], places: __m512i) -> __m512i {
        // SAFETY: by the contract of this function.
        unsafe {
            let first = _mm512_loadu_si512(table.as_ptr().cast());
            let second = _mm512_loadu_si512(table[64..].as_ptr().cast());
            _mm512_permutex2var_epi8(first, places, second)
        }
    }

    /// The instruction.
    struct Native;

    // SAFETY: each function is one instruction of the set, which callers prove to be there.
    unsafe impl Pairs<Avx512<true>> for Native {
        type P = __m512bh;
        const ROWS: usize = 6;

        #[inline(always)]
        unsafe fn load(from: *const u8) -> __m512bh {
            // SAFETY: by the contract of the trait.
            unsafe { line(_mm512_loadu_si512(from.cast())) }
        }
        #[inline(always)]
        unsafe fn splat(from: *const u8) -> __m512bh {
            // SAFETY: by the contract of the trait.
            unsafe { line(_mm512_set1_epi32(from.cast::<i32>().read_unaligned())) }
        }
        #[inline(always)]
        unsafe fn load_e4m3_256th(from: *const u8) -> [__m512bh; 2] {
            // SAFETY: by the contract of the trait; each table is 128 bytes.
            unsafe {
                // Eights of bytes, so that the low and high halves of each 128 bits are a line each.
                let order = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
                let bytes = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(from.cast()));
                let (low, high) = (looked_up(&LOW, bytes), looked_up(&HIGH, bytes));
                // high | bytes & sign: the table takes seven bits of a number.
                let sign = _mm512_set1_epi8(i8::MIN);
                let high = _mm512_ternarylogic_epi64::<0xf8>(high, bytes, sign);
                [line(_mm512_unpacklo_epi8(low, high)), line(_mm512_unpackhi_epi8(low, high))]
            }
        }
        #[inline(always)]
        unsafe fn widen_e4m3_256th(from: *const u8, to: *mut u8) {
            // SAFETY: by the contract of the trait.
            unsafe {
                let [first, second] = Self::load_e4m3_256th(from);
                to.cast::<__m512bh>().write_unaligned(first);
                to.add(64).cast::<__m512bh>().write_unaligned(second);
            }
        }
        #[inline(always)]
        unsafe fn add(sum: __m512, a: __m512bh, b: __m512bh) -> __m512 {
            // SAFETY: by the contract of the trait.
            unsafe { _mm512_dpbf16_ps(sum, a, b) }
        }
    }
}
