//! Eight vectors at a time: lanes added up, rows turned to columns.

use std::arch::x86_64::*;

use crate::cpu::simd::LANES;

/// The sums of the lanes of eight neighbouring vectors, each as [`Simd::sum`](crate::cpu::simd::Simd::sum) adds them.
///
/// # Safety
/// The processor has AVX, and the vectors can be read.
#[inline(always)]
pub(super) unsafe fn sums_of_eight(from: *const f32) -> __m256 {
    // SAFETY: by the contract of this function. Each step halves the lanes of every vector as `sum` does,
    // and lays two vectors into one.
    unsafe {
        let mut v = [_mm256_setzero_ps(); 8];
        for i in 0..8 {
            let from = from.add(i * LANES);
            v[i] = _mm256_add_ps(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8)));
        }
        // Vectors whose sums end in the lower half meet those that end in the upper.
        for i in 0..4 {
            let low = _mm256_permute2f128_ps::<0x20>(v[i], v[i + 4]);
            v[i] = _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(v[i], v[i + 4]));
        }
        for i in 0..2 {
            let (a, b) = (v[2 * i], v[2 * i + 1]);
            let low = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
            v[i] = _mm256_add_ps(low, _mm256_shuffle_ps::<0b11_10_11_10>(a, b));
        }
        let low = _mm256_shuffle_ps::<0b10_00_10_00>(v[0], v[1]);
        _mm256_add_ps(low, _mm256_shuffle_ps::<0b11_01_11_01>(v[0], v[1]))
    }
}

/// [`Simd::transpose`](crate::cpu::simd::Simd::transpose) of eight rows of eight.
///
/// # Safety
/// The processor has AVX, and the elements are there.
#[inline(always)]
pub(super) unsafe fn transpose_eight(
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
) {
    // SAFETY: by the contract of this function. Pairs of rows are laid into one another, then pairs of pairs;
    // last, halves change places.
    unsafe {
        let mut v = [_mm256_setzero_ps(); 8];
        for i in 0..8 {
            v[i] = _mm256_loadu_ps(from.add(i * from_stride));
        }
        let mut w = v;
        for i in 0..4 {
            w[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
            w[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
        }
        for i in 0..2 {
            for half in 0..2 {
                let a = _mm256_castps_pd(w[4 * i + half]);
                let b = _mm256_castps_pd(w[4 * i + 2 + half]);
                v[4 * i + 2 * half] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
                v[4 * i + 2 * half + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
            }
        }
        for j in 0..4 {
            let (above, below) = (v[j], v[4 + j]);
            _mm256_storeu_ps(to.add(j * to_stride), _mm256_permute2f128_ps::<0x20>(above, below));
            let right = _mm256_permute2f128_ps::<0x31>(above, below);
            _mm256_storeu_ps(to.add((4 + j) * to_stride), right);
        }
    }
}
