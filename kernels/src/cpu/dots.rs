//! Dot products of bytes, exact in 32 bits: the same on every instruction set.

use super::portable::Portable;

/// Sums of products of four neighbouring bytes in each of sixteen lanes.
///
/// # Safety
/// No function may be called where the processor lacks the instructions. Pointers need not be aligned.
#[expect(clippy::missing_safety_doc, reason = "all share the contract of the trait")]
pub unsafe trait Dots: Copy + 'static {
    /// Sixteen whole numbers of 32 bits.
    type I: Copy;
    /// Four weights in each of sixteen lanes.
    type Weights: Copy;
    /// Four activations, the same in each lane.
    type Four: Copy;

    /// The rows of a tile of sums that fits into the registers.
    const DOT_ROWS: usize;
    /// Its vectors of outputs.
    const DOT_COLUMNS: usize;

    /// `value` in each lane.
    unsafe fn splat_i32(value: i32) -> Self::I;
    /// Sixteen neighbours.
    unsafe fn load_i32(from: *const i32) -> Self::I;
    /// `a + b`, of which none is too large.
    unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I;
    /// 64 weights, each stored 128 above its value.
    unsafe fn load_weights(from: *const u8) -> Self::Weights;
    /// Four activations.
    unsafe fn load_four(from: *const i8) -> Self::Four;
    /// Adds to each lane the products of its four weights, 128 above their values, with the activations.
    unsafe fn add_dots(sum: Self::I, w: Self::Weights, x: Self::Four) -> Self::I;
}

// SAFETY: needs no instructions.
unsafe impl Dots for Portable {
    type I = [i32; 16];
    type Weights = [[u8; 4]; 16];
    type Four = [i8; 4];
    const DOT_ROWS: usize = 2;
    const DOT_COLUMNS: usize = 1;

    #[inline(always)]
    unsafe fn splat_i32(value: i32) -> Self::I {
        [value; 16]
    }
    #[inline(always)]
    unsafe fn load_i32(from: *const i32) -> Self::I {
        // SAFETY: by the contract of the trait.
        unsafe { from.cast::<Self::I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn add_i32(mut a: Self::I, b: Self::I) -> Self::I {
        for lane in 0..16 {
            a[lane] += b[lane];
        }
        a
    }
    #[inline(always)]
    unsafe fn load_weights(from: *const u8) -> Self::Weights {
        // SAFETY: by the contract of the trait; arrays of bytes have no alignment.
        unsafe { from.cast::<Self::Weights>().read() }
    }
    #[inline(always)]
    unsafe fn load_four(from: *const i8) -> Self::Four {
        // SAFETY: as above.
        unsafe { from.cast::<Self::Four>().read() }
    }
    #[inline(always)]
    unsafe fn add_dots(mut sum: Self::I, w: Self::Weights, x: Self::Four) -> Self::I {
        for lane in 0..16 {
            for i in 0..4 {
                sum[lane] += i32::from(w[lane][i]) * i32::from(x[i]);
            }
        }
        sum
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Dots;
    use crate::cpu::avx2::Avx2;
    use crate::cpu::avx512::Avx512;

    // SAFETY: each function is one or some instructions of the set, which callers prove to be there.
    unsafe impl Dots for Avx512<true> {
        type I = __m512i;
        type Weights = __m512i;
        type Four = __m512i;
        const DOT_ROWS: usize = 6;
        const DOT_COLUMNS: usize = 4;

        #[inline(always)]
        unsafe fn splat_i32(value: i32) -> __m512i {
            // SAFETY: by the contract of the trait, as below.
            unsafe { _mm512_set1_epi32(value) }
        }
        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn add_i32(a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn load_weights(from: *const u8) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn load_four(from: *const i8) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn add_dots(sum: __m512i, w: __m512i, x: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_dpbusd_epi32(sum, w, x) }
        }
    }

    // Bytes of even and odd places meet as numbers of 16 bits, two products to a sum of 32.
    // SAFETY: as above.
    unsafe impl Dots for Avx512<false> {
        type I = __m512i;
        type Weights = [__m512i; 2];
        type Four = [__m512i; 2];
        const DOT_ROWS: usize = 6;
        const DOT_COLUMNS: usize = 2;

        #[inline(always)]
        unsafe fn splat_i32(value: i32) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_set1_epi32(value) }
        }
        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn add_i32(a: __m512i, b: __m512i) -> __m512i {
            // SAFETY: as above.
            unsafe { _mm512_add_epi32(a, b) }
        }
        #[inline(always)]
        unsafe fn load_weights(from: *const u8) -> [__m512i; 2] {
            // SAFETY: as above.
            unsafe {
                let bytes = _mm512_loadu_si512(from.cast());
                [_mm512_and_si512(bytes, _mm512_set1_epi16(0xff)), _mm512_srli_epi16::<8>(bytes)]
            }
        }
        #[inline(always)]
        unsafe fn load_four(from: *const i8) -> [__m512i; 2] {
            // SAFETY: as above.
            unsafe {
                let bytes = _mm512_set1_epi32(from.cast::<i32>().read_unaligned());
                [
                    _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(bytes)),
                    _mm512_srai_epi16::<8>(bytes),
                ]
            }
        }
        #[inline(always)]
        unsafe fn add_dots(sum: __m512i, w: [__m512i; 2], x: [__m512i; 2]) -> __m512i {
            // SAFETY: as above.
            unsafe {
                let odd = _mm512_add_epi32(sum, _mm512_madd_epi16(w[1], x[1]));
                _mm512_add_epi32(odd, _mm512_madd_epi16(w[0], x[0]))
            }
        }
    }

    // As without VNNI above, in two registers.
    // SAFETY: as above.
    unsafe impl Dots for Avx2 {
        type I = [__m256i; 2];
        type Weights = [[__m256i; 2]; 2];
        type Four = [__m256i; 2];
        const DOT_ROWS: usize = 2;
        const DOT_COLUMNS: usize = 1;

        #[inline(always)]
        unsafe fn splat_i32(value: i32) -> Self::I {
            // SAFETY: as above.
            unsafe { [_mm256_set1_epi32(value); 2] }
        }
        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> Self::I {
            // SAFETY: as above.
            unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())] }
        }
        #[inline(always)]
        unsafe fn add_i32(a: Self::I, b: Self::I) -> Self::I {
            // SAFETY: as above.
            unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
        }
        #[inline(always)]
        unsafe fn load_weights(from: *const u8) -> Self::Weights {
            // SAFETY: as above.
            unsafe {
                let low = _mm256_set1_epi16(0xff);
                let a = _mm256_loadu_si256(from.cast());
                let b = _mm256_loadu_si256(from.add(32).cast());
                [
                    [_mm256_and_si256(a, low), _mm256_srli_epi16::<8>(a)],
                    [_mm256_and_si256(b, low), _mm256_srli_epi16::<8>(b)],
                ]
            }
        }
        #[inline(always)]
        unsafe fn load_four(from: *const i8) -> Self::Four {
            // SAFETY: as above.
            unsafe {
                let bytes = _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
                [
                    _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)),
                    _mm256_srai_epi16::<8>(bytes),
                ]
            }
        }
        #[inline(always)]
        unsafe fn add_dots(mut sum: Self::I, w: Self::Weights, x: Self::Four) -> Self::I {
            for half in 0..2 {
                // SAFETY: as above.
                unsafe {
                    let odd = _mm256_add_epi32(sum[half], _mm256_madd_epi16(w[half][1], x[1]));
                    sum[half] = _mm256_add_epi32(odd, _mm256_madd_epi16(w[half][0], x[0]));
                }
            }
            sum
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::Dots;
    use crate::cpu::neon::Neon;

    // SAFETY: each function is one or some instructions of the set, which the architecture has.
    unsafe impl Dots for Neon {
        type I = [int32x4_t; 4];
        type Weights = [uint8x16_t; 4];
        type Four = int16x8_t;
        const DOT_ROWS: usize = 2;
        const DOT_COLUMNS: usize = 1;

        #[inline(always)]
        unsafe fn splat_i32(value: i32) -> Self::I {
            // SAFETY: by the contract of the trait, as below.
            unsafe { [vdupq_n_s32(value); 4] }
        }
        #[inline(always)]
        unsafe fn load_i32(from: *const i32) -> Self::I {
            // SAFETY: as above.
            unsafe {
                [
                    vld1q_s32(from),
                    vld1q_s32(from.add(4)),
                    vld1q_s32(from.add(8)),
                    vld1q_s32(from.add(12)),
                ]
            }
        }
        #[inline(always)]
        unsafe fn add_i32(mut a: Self::I, b: Self::I) -> Self::I {
            for i in 0..4 {
                // SAFETY: as above.
                a[i] = unsafe { vaddq_s32(a[i], b[i]) };
            }
            a
        }
        #[inline(always)]
        unsafe fn load_weights(from: *const u8) -> Self::Weights {
            // SAFETY: as above.
            unsafe {
                [
                    vld1q_u8(from),
                    vld1q_u8(from.add(16)),
                    vld1q_u8(from.add(32)),
                    vld1q_u8(from.add(48)),
                ]
            }
        }
        #[inline(always)]
        unsafe fn load_four(from: *const i8) -> int16x8_t {
            // SAFETY: as above.
            unsafe {
                let four = vdup_n_s32(from.cast::<i32>().read_unaligned());
                vmovl_s8(vreinterpret_s8_s32(four))
            }
        }
        #[inline(always)]
        unsafe fn add_dots(mut sum: Self::I, w: Self::Weights, x: int16x8_t) -> Self::I {
            for i in 0..4 {
                // SAFETY: as above.
                unsafe {
                    // Weights are below 2^8 as numbers of 16 bits.
                    let low = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(w[i])));
                    let high = vreinterpretq_s16_u16(vmovl_high_u8(w[i]));
                    let a = vpaddq_s32(
                        vmull_s16(vget_low_s16(low), vget_low_s16(x)),
                        vmull_high_s16(low, x),
                    );
                    let b = vpaddq_s32(
                        vmull_s16(vget_low_s16(high), vget_low_s16(x)),
                        vmull_high_s16(high, x),
                    );
                    sum[i] = vaddq_s32(sum[i], vpaddq_s32(a, b));
                }
            }
            sum
        }
    }
}
