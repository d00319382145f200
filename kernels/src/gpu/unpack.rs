//! Stored elements in words of 32 bits, and the numbers that they stand for.
//!
//! A packet is four elements. No kernel type narrower than 32 bits is used: not every device has
//! them, and some that lack them compute garbage silently.

#![expect(missing_docs, reason = "the kernel macro makes public items without documentation")]
#![expect(clippy::cast_possible_truncation, reason = "shifts are below 32")]

use cubecl::prelude::*;

use crate::Dtype;

/// Four numbers, as kernels compute with them.
pub type Quad = Vector<f32, Const<4>>;

/// The elements of a packet.
pub const PACKET: usize = 4;

/// How the elements of a packet are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Packing {
    /// One word each.
    F32,
    /// Two in a word.
    F16,
    /// Two in a word.
    Bf16,
    /// Four in a word.
    E4m3,
    /// Four in a word.
    I8,
}

impl Packing {
    /// How a device holds elements stored as `dtype`; `f64` is rounded to `f32` first.
    #[must_use]
    pub fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 | Dtype::F64 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::Bf16 => Self::Bf16,
            Dtype::F8E4m3 => Self::E4m3,
            Dtype::I8 => Self::I8,
        }
    }

    /// The words of a packet.
    #[must_use]
    pub const fn words(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::E4m3 | Self::I8 => 1,
        }
    }
}

/// The four numbers of a packet.
#[cube]
pub fn unpack<W: Size>(words: Vector<u32, W>, #[comptime] packing: Packing) -> Quad {
    let mut quad = Quad::new(0.0);
    #[unroll]
    for i in 0..PACKET {
        let value = if comptime!(packing == Packing::F32) {
            f32::reinterpret(words.extract(i))
        } else if comptime!(packing == Packing::Bf16) {
            bf16_to_f32(half_word(words.extract(comptime!(i / 2)), comptime!(i % 2)))
        } else if comptime!(packing == Packing::F16) {
            f16_to_f32(half_word(words.extract(comptime!(i / 2)), comptime!(i % 2)))
        } else if comptime!(packing == Packing::I8) {
            i8_to_f32((words.extract(0usize) >> comptime!(8 * i as u32)) & 0xff)
        } else {
            e4m3_to_f32((words.extract(0usize) >> comptime!(8 * i as u32)) & 0xff)
        };
        quad.insert(i, value);
    }
    quad
}

/// The lower (0) or the upper (1) 16 bits.
#[cube]
fn half_word(word: u32, #[comptime] half: usize) -> u32 {
    (word >> comptime!(16 * half as u32)) & 0xffff
}

/// The number whose upper half `bits` is.
#[cube]
pub fn bf16_to_f32(bits: u32) -> f32 {
    f32::reinterpret(bits << 16)
}

/// The value of a binary16.
#[cube]
pub fn f16_to_f32(bits: u32) -> f32 {
    let sign = (bits & 0x8000) << 16;
    let exponent = (bits >> 10) & 31;
    let mantissa = bits & 1023;
    // A subnormal is a whole number of 2^-24: exact, and no subnormal of binary32.
    let small = u32::reinterpret(f32::cast_from(mantissa) * 5.960_464_5e-8);
    let normal = ((bits & 0x7fff) << 13) + comptime!(112u32 << 23);
    let special = 0x7f80_0000 | (mantissa << 13);
    let magnitude = select(exponent == 0, small, select(exponent == 31, special, normal));
    f32::reinterpret(sign | magnitude)
}

/// The value of an e4m3 "fn": no infinities, NaN where all other bits are set.
#[cube]
pub fn e4m3_to_f32(bits: u32) -> f32 {
    let sign = (bits & 0x80) << 24;
    let exponent = (bits >> 3) & 15;
    let small = u32::reinterpret(f32::cast_from(bits & 7) * 0.001_953_125);
    let normal = ((bits & 0x7f) << 20) + comptime!(120u32 << 23);
    let magnitude = select(exponent == 0, small, normal);
    f32::reinterpret(sign | select((bits & 0x7f) == 0x7f, 0x7fc0_0000, magnitude))
}

/// The whole number of eight bits, two's complement.
#[cube]
pub fn i8_to_f32(bits: u32) -> f32 {
    f32::cast_from(bits & 0x7f) - f32::cast_from(bits & 0x80)
}
