//! AVX2 with FMA: sixteen lanes are two registers.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::simd::{Kernel, LANES, Register, Simd};

mod lanes;

use lanes::{sums_of_eight, transpose_eight};

/// Two registers of 256 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2;

/// Runs a kernel that is compiled for AVX2.
///
/// # Safety
/// The processor has it: [`Isa::Avx2`](super::Isa::Avx2) is among those detected.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: by the contract of this function.
    unsafe { kernel.run::<Avx2>() }
}

/// Lane `l` plus lane `l + 4`, then 2, then 1.
///
/// # Safety
/// The processor has AVX.
#[inline(always)]
pub(super) unsafe fn sum8(v: __m256) -> f32 {
    // SAFETY: by the contract of this function.
    unsafe {
        let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
        let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
        _mm_cvtss_f32(_mm_add_ss(v, _mm_shuffle_ps::<1>(v, v)))
    }
}

/// The nearest bf16 of each lane, ties to even; NaN stays NaN.
///
/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn nearest_bf16(v: __m256) -> __m256 {
    // SAFETY: by the contract of this function.
    unsafe {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
        let rounded = _mm256_castsi256_ps(_mm256_add_epi32(bits, half));
        let quiet = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc0_0000));
        let kept = _mm256_blendv_ps(rounded, quiet, _mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        _mm256_and_ps(kept, _mm256_castsi256_ps(_mm256_set1_epi32(!0xffff)))
    }
}

/// Sixteen e4m3 as f16, each a 256th of its value: the exponent's bias is 8 less, and the numbers
/// below the smallest exponent fall into place.
///
/// # Safety
/// The processor has AVX2, and 16 bytes can be read.
#[inline(always)]
pub(super) unsafe fn e4m3_to_f16(from: *const u8) -> __m256i {
    // SAFETY: by the contract of this function.
    unsafe {
        let bytes = _mm256_cvtepu8_epi16(_mm_loadu_si128(from.cast()));
        // The sign moves to its place, and once more into the bit below, which is cleared.
        let spread = _mm256_srai_epi16::<1>(_mm256_slli_epi16::<8>(bytes));
        let value = _mm256_and_si256(spread, _mm256_set1_epi16(!0x4000));
        let magnitude = _mm256_and_si256(bytes, _mm256_set1_epi16(0x7f));
        let nan = _mm256_cmpeq_epi16(magnitude, _mm256_set1_epi16(0x7f));
        _mm256_or_si256(value, _mm256_and_si256(nan, _mm256_set1_epi16(0x7c00)))
    }
}

// SAFETY: each function is one instruction of the set, which callers prove to be there.
unsafe impl Register for __m256 {
    const WIDTH: usize = 8;
    const ROWS: usize = 3;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: by the contract of the trait, as below.
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm256_fmadd_ps(self, b, c) }
    }
}

// SAFETY: each function is one or some instructions of the set, which callers prove to be there.
unsafe impl Simd for Avx2 {
    type V = [__m256; 2];
    type Register = __m256;
    const ROWS: usize = 3;
    const COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: by the contract of the trait, as below.
        unsafe { [_mm256_set1_ps(value); 2] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, [a, b]: Self::V) {
        // SAFETY: as above.
        unsafe {
            _mm256_storeu_ps(to, a);
            _mm256_storeu_ps(to.add(8), b);
        }
    }
    #[inline(always)]
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn round(v: Self::V) -> Self::V {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: as above.
        unsafe { [_mm256_round_ps::<NEAREST>(v[0]), _mm256_round_ps::<NEAREST>(v[1])] }
    }
    #[inline(always)]
    unsafe fn power_of_two(n: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let a = _mm256_add_epi32(_mm256_cvtps_epi32(n[0]), bias);
            let b = _mm256_add_epi32(_mm256_cvtps_epi32(n[1]), bias);
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(a)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(b)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: as above.
        unsafe { sum8(_mm256_add_ps(v[0], v[1])) }
    }
    #[inline(always)]
    unsafe fn sums(from: *const f32) -> Self::V {
        // SAFETY: as above; eight vectors, then eight more.
        unsafe { [sums_of_eight(from), sums_of_eight(from.add(8 * LANES))] }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        for i in [0, 8] {
            for j in [0, 8] {
                // SAFETY: as above; a quarter of the rows and columns.
                unsafe {
                    let (from, to) = (from.add(i * from_stride + j), to.add(j * to_stride + i));
                    transpose_eight(from, from_stride, to, to_stride);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn round_bf16(v: Self::V) -> Self::V {
        // SAFETY: as above.
        unsafe { [nearest_bf16(v[0]), nearest_bf16(v[1])] }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u8, v: Self::V) {
        // SAFETY: as above.
        unsafe {
            let a = _mm256_srli_epi32::<16>(_mm256_castps_si256(v[0]));
            let b = _mm256_srli_epi32::<16>(_mm256_castps_si256(v[1]));
            // Packing takes turns between halves of the registers, which are put in order again.
            let words = _mm256_packus_epi32(a, b);
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            _mm256_storeu_si256(to.cast(), words);
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_pairs(to: *mut u8, first: Self::V, second: Self::V) {
        for half in 0..2 {
            // SAFETY: as above.
            unsafe {
                let low = _mm256_srli_epi32::<16>(_mm256_castps_si256(first[half]));
                let pairs = _mm256_or_si256(low, _mm256_castps_si256(second[half]));
                _mm256_storeu_si256(to.add(32 * half).cast(), pairs);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let a = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
            let b = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(16).cast()));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(a)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(b)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [Self::V; 2] {
        // SAFETY: as above.
        unsafe {
            let high = _mm256_set1_epi32(!0xffff);
            let a = _mm256_loadu_si256(from.cast());
            let b = _mm256_loadu_si256(from.add(32).cast());
            let first = [_mm256_slli_epi32::<16>(a), _mm256_slli_epi32::<16>(b)];
            let second = [_mm256_and_si256(a, high), _mm256_and_si256(b, high)];
            [
                [_mm256_castsi256_ps(first[0]), _mm256_castsi256_ps(first[1])],
                [_mm256_castsi256_ps(second[0]), _mm256_castsi256_ps(second[1])],
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let (a, b) = (_mm_loadu_si128(from.cast()), _mm_loadu_si128(from.add(16).cast()));
            [_mm256_cvtph_ps(a), _mm256_cvtph_ps(b)]
        }
    }
    #[inline(always)]
    unsafe fn load_e4m3_256th(from: *const u8) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let f16 = e4m3_to_f16(from);
            let a = _mm256_cvtph_ps(_mm256_castsi256_si128(f16));
            let b = _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(f16));
            [a, b]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> Self::V {
        // SAFETY: as above.
        unsafe {
            let (a, b) = (_mm_loadl_epi64(from.cast()), _mm_loadl_epi64(from.add(8).cast()));
            [
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(a)),
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn from_i32(v: [__m256i; 2]) -> Self::V {
        // SAFETY: as above.
        unsafe { [_mm256_cvtepi32_ps(v[0]), _mm256_cvtepi32_ps(v[1])] }
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, v: Self::V) {
        // SAFETY: as above.
        unsafe {
            // Packing takes turns between halves of the registers, which are put in order again.
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1]));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let low = _mm256_castsi256_si128(words);
            let bytes = _mm_packs_epi16(low, _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(to.cast(), bytes);
        }
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        // SAFETY: asks for memory without touching it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    unsafe fn prefetch_far(at: *const u8) {
        // SAFETY: asks for memory without touching it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }
}
