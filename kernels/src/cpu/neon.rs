//! NEON: sixteen lanes are four registers.

#![cfg(target_arch = "aarch64")]

use std::arch::aarch64::*;

use half::f16;

use super::portable::decode;
use super::simd::{Kernel, Register, Simd};
use crate::Dtype;

/// Four registers of 128 bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Neon;

/// Runs a kernel that is compiled for NEON.
///
/// # Safety
/// The processor has it, as every one of this architecture does.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: by the contract of this function.
    unsafe { kernel.run::<Neon>() }
}

type V = [float32x4_t; 4];

#[inline(always)]
fn each(f: impl Fn(usize) -> float32x4_t) -> V {
    std::array::from_fn(f)
}

// SAFETY: each function is one instruction of the set, which callers prove to be there.
unsafe impl Register for float32x4_t {
    const WIDTH: usize = 4;
    const ROWS: usize = 6;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: by the contract of the trait, as below.
        unsafe { vdupq_n_f32(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: as above.
        unsafe { vld1q_f32(from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: as above.
        unsafe { vst1q_f32(to, self) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: as above.
        unsafe { vfmaq_f32(c, self, b) }
    }
}

// SAFETY: each function is one or some instructions of the set, which the architecture has.
unsafe impl Simd for Neon {
    type V = V;
    type Register = float32x4_t;
    const ROWS: usize = 2;
    const COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> V {
        // SAFETY: by the contract of the trait, as below.
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vld1q_f32(from.add(4 * i)) })
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: V) {
        for i in 0..4 {
            // SAFETY: as above.
            unsafe { vst1q_f32(to.add(4 * i), v[i]) };
        }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vfmaq_f32(c[i], a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vsubq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vdivq_f32(a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        // SAFETY: as above. `vminq` would keep any NaN.
        each(|i| unsafe { vbslq_f32(vcltq_f32(a[i], b[i]), a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vbslq_f32(vcgtq_f32(a[i], b[i]), a[i], b[i]) })
    }
    #[inline(always)]
    unsafe fn round(v: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vrndnq_f32(v[i]) })
    }
    #[inline(always)]
    unsafe fn power_of_two(n: V) -> V {
        // SAFETY: as above.
        each(|i| unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(n[i]), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        })
    }
    #[inline(always)]
    unsafe fn sum(v: V) -> f32 {
        // SAFETY: as above.
        unsafe {
            let v = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let v = vadd_f32(vget_low_f32(v), vget_high_f32(v));
            vget_lane_f32::<0>(v) + vget_lane_f32::<1>(v)
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> V {
        // SAFETY: as above.
        each(|i| unsafe {
            let half = vld1_u8(from.add(8 * i));
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vreinterpret_u16_u8(half)))
        })
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [V; 2] {
        // SAFETY: as above.
        let pairs = |i| unsafe { vreinterpretq_u32_u8(vld1q_u8(from.add(16 * i))) };
        [
            each(|i| unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs(i))) }),
            each(|i| unsafe {
                vreinterpretq_f32_u32(vandq_u32(pairs(i), vdupq_n_u32(0xffff_0000)))
            }),
        ]
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> V {
        // SAFETY: as above.
        unsafe { Self::load(decode(from, |b| f16::from_le_bytes(b).to_f32()).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_e4m3_256th(from: *const u8) -> V {
        // SAFETY: as above.
        unsafe { Self::load(decode(from, |[b]| Dtype::e4m3(b) / 256.0).as_ptr()) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> V {
        // SAFETY: as above.
        unsafe {
            let bytes = vld1q_s8(from.cast());
            let [low, high] = [vmovl_s8(vget_low_s8(bytes)), vmovl_s8(vget_high_s8(bytes))];
            [
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                vcvtq_f32_s32(vmovl_s16(vget_high_s16(high))),
            ]
        }
    }
    #[inline(always)]
    unsafe fn from_i32(v: [int32x4_t; 4]) -> V {
        // SAFETY: as above.
        each(|i| unsafe { vcvtq_f32_s32(v[i]) })
    }
    #[inline(always)]
    unsafe fn store_i8(to: *mut i8, v: V) {
        // SAFETY: as above.
        unsafe {
            let words =
                |a, b| vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(a)), vqmovn_s32(vcvtnq_s32_f32(b)));
            let low = vqmovn_s16(words(v[0], v[1]));
            vst1q_s8(to, vcombine_s8(low, vqmovn_s16(words(v[2], v[3]))));
        }
    }
}
