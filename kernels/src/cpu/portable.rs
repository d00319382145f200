//! The arithmetic without any instruction set: for processors that have none of the others.

use half::f16;

use super::simd::{LANES, Register, Simd};
use crate::Dtype;

/// Arrays of sixteen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

type V = [f32; LANES];

fn each(f: impl Fn(usize) -> f32) -> V {
    std::array::from_fn(f)
}

/// Sixteen elements of `N` bytes each.
///
/// # Safety
/// They can be read.
#[inline(always)]
pub(super) unsafe fn decode<const N: usize>(from: *const u8, f: impl Fn([u8; N]) -> f32) -> V {
    // SAFETY: by the contract of this function; arrays of bytes have no alignment.
    let elements = unsafe { from.cast::<[[u8; N]; LANES]>().read() };
    elements.map(f)
}

// SAFETY: needs no instructions. Four lanes are a register where there are any.
unsafe impl Register for [f32; 4] {
    const WIDTH: usize = 4;
    const ROWS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: by the contract of the trait.
        unsafe { from.cast::<Self>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: by the contract of the trait.
        unsafe { to.cast::<Self>().write_unaligned(self) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        std::array::from_fn(|l| self[l] * b[l] + c[l])
    }
}

// SAFETY: needs no instructions.
unsafe impl Simd for Portable {
    type V = V;
    type Register = [f32; 4];
    const ROWS: usize = 2;
    const COLUMNS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> V {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> V {
        // SAFETY: by the contract of the trait.
        unsafe { from.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: V) {
        // SAFETY: by the contract of the trait.
        unsafe { to.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        each(|l| a[l] * b[l] + c[l])
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        each(|l| a[l] + b[l])
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        each(|l| a[l] - b[l])
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        each(|l| a[l] * b[l])
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        each(|l| a[l] / b[l])
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        each(|l| if a[l] < b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        each(|l| if a[l] > b[l] { a[l] } else { b[l] })
    }
    #[inline(always)]
    unsafe fn round(v: V) -> V {
        each(|l| v[l].round_ties_even())
    }
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "whole numbers in the range of exponents")]
    unsafe fn power_of_two(n: V) -> V {
        each(|l| f32::from_bits(((n[l] as i32 + 127) << 23).cast_unsigned()))
    }
    #[inline(always)]
    unsafe fn sum(mut v: V) -> f32 {
        for half in [8, 4, 2, 1] {
            for l in 0..half {
                v[l] += v[l + half];
            }
        }
        v[0]
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u8) -> V {
        // SAFETY: by the contract of the trait.
        unsafe { decode(from, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)) }
    }
    #[inline(always)]
    unsafe fn load_bf16_pairs(from: *const u8) -> [V; 2] {
        // SAFETY: by the contract of the trait.
        unsafe {
            [
                decode(from, |b| f32::from_bits(u32::from_le_bytes(b) << 16)),
                decode(from, |b| f32::from_bits(u32::from_le_bytes(b) & 0xffff_0000)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u8) -> V {
        // SAFETY: by the contract of the trait.
        unsafe { decode(from, |b| f16::from_le_bytes(b).to_f32()) }
    }
    #[inline(always)]
    unsafe fn load_e4m3_256th(from: *const u8) -> V {
        // SAFETY: by the contract of the trait.
        unsafe { decode(from, |[b]| Dtype::e4m3(b) / 256.0) }
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const u8) -> V {
        // SAFETY: by the contract of the trait.
        unsafe { decode(from, |b| f32::from(i8::from_le_bytes(b))) }
    }
    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "sums of a block are below 2^24")]
    unsafe fn from_i32(v: [i32; LANES]) -> V {
        each(|l| v[l] as f32)
    }
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a cast stops at the ends of its range")]
    unsafe fn store_i8(to: *mut i8, v: V) {
        for l in 0..LANES {
            // SAFETY: by the contract of the trait.
            unsafe { to.add(l).write(v[l].round_ties_even() as i8) };
        }
    }
}
