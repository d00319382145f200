//! AVX-512, without and with VNNI: sixteen lanes are one register.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::dots::Dots;
use super::simd::{Kernel, Register, Simd};

/// One register of 512 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512<const VNNI: bool>;

/// Runs a kernel that is compiled for AVX-512.
///
/// # Safety
/// The processor has it: [`Isa::Avx512`](super::Isa::Avx512) is among those detected.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: by the contract of this function.
    unsafe { kernel.run::<Avx512<false>>() }
}

/// Runs a kernel that is compiled for AVX-512 with VNNI.
///
/// # Safety
/// The processor has it: [`Isa::Avx512Vnni`](super::Isa::Avx512Vnni) is among those detected.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,f16c")]
pub(super) unsafe fn run_vnni<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: by the contract of this function.
    unsafe { kernel.run::<Avx512<true>>() }
}

// SAFETY: each function is one instruction of the set, which callers prove to be there.
unsafe impl Register for __m512 {
    const WIDTH: usize = 16;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: by the contract of the trait, as below.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(self, b, c) }
    }
}

// SAFETY: each function is one or some instructions of the set, which callers prove to be there.
unsafe impl<const VNNI: bool> Simd for Avx512<VNNI>
where
    Self: Dots<I = __m512i>,
{
    type V = __m512;
    type Register = __m512;
    const ROWS: usize = 6;
    const COLUMNS: usize = 4;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        // SAFETY: by the contract of the trait, as below.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: __m512) {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn round(v: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(v) }
    }
    #[inline(always)]
    unsafe fn power_of_two(n: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn sum(v: __m512) -> f32 {
        // SAFETY: as above.
        unsafe {
            super::avx2::sum8(_mm256_add_ps(
                _mm512_castps512_ps256(v),
                _mm512_extractf32x8_ps::<1>(v),
            ))
        }
    }
    #[inline(always)]
    unsafe fn sums(from: *const f32) -> __m512 {
        // SAFETY: as above. Each step halves the lanes of every vector as `sum` does, and lays two
        // vectors into one.
        unsafe {
            let mut v = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                v[i] = _mm512_loadu_ps(from.add(16 * i));
            }
            for i in 0..8 {
                let (a, b) = (v[2 * i], v[2 * i + 1]);
                let low = _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b);
                v[i] = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b));
            }
            for i in 0..4 {
                let (a, b) = (v[2 * i], v[2 * i + 1]);
                let low = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                v[i] = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b));
            }
            for i in 0..2 {
                let (a, b) = (v[2 * i], v[2 * i + 1]);
                let low = _mm512_shuffle_ps::<0b01_00_01_00>(a, b);
                v[i] = _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_10_11_10>(a, b));
            }
            let low = _mm512_shuffle_ps::<0b10_00_10_00>(v[0], v[1]);
            let sums = _mm512_add_ps(low, _mm512_shuffle_ps::<0b11_01_11_01>(v[0], v[1]));
            // Four by four, transposed.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_permutexvar_ps(order, sums)
        }
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, from_stride: usize, to: *mut f32, to_stride: usize) {
        // SAFETY: as above. Pairs of rows are laid into one another, then pairs of pairs; last, quarters change
        // places.
        unsafe {
            let mut v = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                v[i] = _mm512_loadu_ps(from.add(i * from_stride));
            }
            let mut w = v;
            for i in 0..8 {
                w[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
                w[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
            }
            for i in 0..4 {
                for half in 0..2 {
                    let a = _mm512_castps_pd(w[4 * i + half]);
                    let b = _mm512_castps_pd(w[4 * i + 2 + half]);
                    v[4 * i + 2 * half] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                    v[4 * i + 2 * half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
                }
            }
            for j in 0..4 {
                let (a, b, c, d) = (v[j], v[4 + j], v[8 + j], v[12 + j]);
                let even = _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                let odd = _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
                let even_below = _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d);
                let odd_below = _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d);
                let rows = [
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(even, even_below),
                    _mm512_shuffle_f32x4::<0b10_00_10_00>(odd, odd_below),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(even, even_below),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(odd, odd_below),
                ];
                for quarter in 0..4 {
                    _mm512_storeu_ps(to.add((4 * quarter + j) * to_stride), rows[quarter]);
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn round_bf16(v: __m512) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let quiet = _mm512_set1_epi32(0x7fc0_0000);
            let rounded = _mm512_mask_mov_epi32(_mm512_add_epi32(bits, half), nan, quiet);
            _mm512_castsi512_ps(_mm512_and_si512(rounded, _mm512_set1_epi32(!0xffff)))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(to: *mut u8, v: __m512) {
        // SAFETY: as above.
        unsafe {
            let high = _mm512_srli_epi32::<16>(_mm512_castps_si512(v));
            _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(high));
        }
    }
    #[inline(always)]
    unsafe fn store_bf16_pairs(to: *mut u8, first: __m512, second: __m512) {
        // SAFETY: as above.
        unsafe {
            let first = _mm512_srli_epi32::<16>(_mm512_castps_si512(first));
            _mm512_storeu_si512(to.cast(), _mm512_or_si512(first, _mm512_castps_si512(second)));
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> __m512 {
        // SAFETY: as above.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [__m512; 2] {
        // SAFETY: as above.
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second)]
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
    #[inline(always)]
    unsafe fn load_e4m3_256th(from: *const u8) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtph_ps(super::avx2::e4m3_to_f16(from)) }
    }
    #[inline(always)]
    unsafe fn load_two_e4m3_256th(from: *const u8) -> [__m512; 2] {
        // SAFETY: as above.
        unsafe {
            // As `e4m3_to_f16`, on twice as many.
            let bytes = _mm512_cvtepu8_epi16(_mm256_loadu_si256(from.cast()));
            let spread = _mm512_srai_epi16::<1>(_mm512_slli_epi16::<8>(bytes));
            let value = _mm512_and_si512(spread, _mm512_set1_epi16(!0x4000));
            let magnitude = _mm512_slli_epi16::<9>(bytes);
            let nan = _mm512_cmpeq_epi16_mask(magnitude, _mm512_set1_epi16(0x7f << 9));
            let value = _mm512_mask_blend_epi16(nan, value, _mm512_set1_epi16(0x7e00));
            [
                _mm512_cvtph_ps(_mm512_castsi512_si256(value)),
                _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(value)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))) }
    }
    #[inline(always)]
    unsafe fn from_i32(v: __m512i) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_cvtepi32_ps(v) }
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, v: __m512) {
        // SAFETY: as above.
        unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v))) }
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
