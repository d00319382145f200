//! Elements of a cached row, as kernels read and round them.
//!
//! Rounding is done on bits and by single products, so that every device rounds alike.

use cubecl::prelude::*;
use latent_kernels::gpu::unpack::{bf16_to_f32, e4m3_to_f32};

use crate::RowFormat;
use crate::cache::SCALE_BLOCK;

/// Element `i` of the row that begins at word `base`.
#[cube]
pub(super) fn element(words: &[u32], base: usize, i: usize, #[comptime] format: RowFormat) -> f32 {
    match comptime!(format) {
        RowFormat::Scalar => f32::reinterpret(words[base + i]),
        RowFormat::Bf16 => half_word(words, base, i),
        RowFormat::Fp8 { latent } => {
            let scales = comptime!(latent.div_ceil(4));
            let rotated = comptime!(latent.div_ceil(4) + latent.div_ceil(SCALE_BLOCK));
            if i < comptime!(latent) {
                let bits = (words[base + i / 4] >> (8 * u32::cast_from(i % 4))) & 0xff;
                let scale = f32::reinterpret(words[base + scales + i / SCALE_BLOCK]);
                e4m3_to_f32(bits) * scale
            } else {
                half_word(words, base + rotated, i - comptime!(latent))
            }
        }
    }
}

/// The `i`th bf16 from word `base` on.
#[cube]
fn half_word(words: &[u32], base: usize, i: usize) -> f32 {
    bf16_to_f32((words[base + i / 2] >> (16 * u32::cast_from(i % 2))) & 0xffff)
}

/// The bits of the nearest bf16, ties to even.
#[cube]
pub(super) fn bf16_bits(value: f32) -> u32 {
    let bits = u32::reinterpret(value);
    let nearest = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    select((bits & 0x7fff_ffff) > 0x7f80_0000, 0x7fc0, nearest)
}

/// The bits of the nearest e4m3, ties to even: 448 for all above it, NaN stays.
#[cube]
pub(super) fn e4m3_bits(value: f32) -> u32 {
    let bits = u32::reinterpret(value);
    let magnitude = bits & 0x7fff_ffff;
    let normal = ((magnitude + 0x7_ffff + ((magnitude >> 20) & 1)) >> 20) - 960;
    // Below 2^-6 values are whole numbers of 2^-9.
    let mantissa = (magnitude & 0x7f_ffff) | 0x80_0000;
    let shift = u32::min(u32::max(141 - u32::min(magnitude >> 23, 120), 21), 26);
    let even = (mantissa >> shift) & 1;
    let small = (mantissa + (1 << (shift - 1)) - 1 + even) >> shift;
    let finite = select(magnitude < 0x3c80_0000, small, normal);
    let capped = select(magnitude >= 0x43e0_0000, 0x7e, finite);
    ((bits >> 24) & 0x80) | select(magnitude > 0x7f80_0000, 0x7f, capped)
}

/// `1 / value`, rounded to nearest, for a normal `value` above 2^-120 and below 2^125, and 0 for
/// infinity. Devices' own quotients may be off by some units.
#[cube]
pub(super) fn reciprocal(value: f32) -> f32 {
    let bits = u32::reinterpret(value);
    let exponent = bits >> 23;
    let mantissa = (bits & 0x7f_ffff) | 0x80_0000;
    // 2^47 / mantissa, bit by bit.
    let mut quotient = 0u32;
    let mut rest = comptime!(1u32 << 23).runtime();
    for _ in 0..24u32 {
        rest <<= 1;
        quotient <<= 1;
        if rest >= mantissa {
            rest -= mantissa;
            quotient += 1;
        }
    }
    // No quotient of these lies half between two numbers.
    quotient += select(2 * rest > mantissa, 1u32, 0u32);
    let inverse = ((253 - exponent) << 23) | (quotient & 0x7f_ffff);
    let power = (254 - exponent) << 23;
    let finite = select(mantissa == 0x80_0000, power, inverse);
    f32::reinterpret(select(exponent == 255, 0u32, finite))
}
