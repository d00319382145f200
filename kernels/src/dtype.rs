//! The element types in which weights are stored, and their exact decoding.

use std::cmp::Ordering;
use std::fmt;

use half::{bf16, f16};

use crate::Scalar;

/// How one element of a stored weight is encoded (little-endian).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dtype {
    /// IEEE 754 binary64.
    F64,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// FP8 e4m3 "fn": no infinities, NaN is `0x7f` and `0xff`, the largest value is 448.
    F8E4m3,
    /// A whole number of -128 to 127; a weight in it has block scales.
    I8,
}

impl Dtype {
    /// The size of one element in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F8E4m3 | Self::I8 => 1,
        }
    }

    /// Decodes `bytes` into `out`, exactly where the target type can hold the value.
    ///
    /// `bytes` need not be aligned: files do not promise it.
    ///
    /// ```
    /// use latent_kernels::Dtype;
    /// let mut out = [0.0_f32; 2];
    /// Dtype::Bf16.decode(&[0x80, 0x3f, 0x00, 0xc0], &mut out);
    /// assert_eq!(out, [1.0, -2.0]);
    /// ```
    ///
    /// # Panics
    /// When `bytes` is not exactly `out.len()` elements long.
    pub fn decode<T: Scalar>(self, bytes: &[u8], out: &mut [T]) {
        assert_eq!(bytes.len(), out.len() * self.bytes(), "decode: byte length");
        match self {
            Self::F64 => fill(bytes, out, |b| T::from_f64(f64::from_le_bytes(b))),
            Self::F32 => fill(bytes, out, |b| T::from_f32(f32::from_le_bytes(b))),
            Self::F16 => fill(bytes, out, |b| T::from_f32(f16::from_le_bytes(b).to_f32())),
            Self::Bf16 => {
                fill(bytes, out, |b| {
                    T::from_f32(f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))
                });
            }
            Self::F8E4m3 => fill(bytes, out, |[b]| T::from_f32(E4M3[usize::from(b)])),
            Self::I8 => fill(bytes, out, |b| T::from_f32(f32::from(i8::from_le_bytes(b)))),
        }
    }

    /// The value of an e4m3.
    pub(crate) const fn e4m3(bits: u8) -> f32 {
        E4M3[bits as usize]
    }

    /// Encodes `values`, each rounded to the nearest value of this type, ties to even.
    ///
    /// e4m3 saturates at 448 in either direction and keeps NaN; whole numbers saturate at 127 and
    /// -127, and have no NaN: it becomes 0.
    ///
    /// ```
    /// use latent_kernels::Dtype;
    /// assert_eq!(Dtype::F8E4m3.encode(&[1.0_f32, 1e9]), [0x38, 0x7e]);
    /// ```
    #[must_use]
    pub fn encode<T: Scalar>(self, values: &[T]) -> Vec<u8> {
        // What `f32` holds is not rounded on the way.
        let narrow = |v: f64| {
            if T::BYTES <= 4 { <f32 as Scalar>::from_f64(v) } else { to_odd(v) }
        };
        match self {
            Self::F64 => each(values, f64::to_le_bytes),
            Self::F32 => each(values, |v| <f32 as Scalar>::from_f64(v).to_le_bytes()),
            Self::F16 => each(values, |v| f16::from_f32(narrow(v)).to_le_bytes()),
            Self::Bf16 => each(values, |v| bf16::from_f32(narrow(v)).to_le_bytes()),
            Self::F8E4m3 => each(values, |v| [e4m3_from_f64(v)]),
            Self::I8 => each(values, |v| i8_from_f64(v).to_le_bytes()),
        }
    }
}

fn each<T: Scalar, const N: usize>(values: &[T], encode: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
    let mut bytes = vec![0; values.len() * N];
    let (elements, _) = bytes.as_chunks_mut::<N>();
    for (b, v) in elements.iter_mut().zip(values) {
        *b = encode(v.as_f64());
    }
    bytes
}

fn fill<T, const N: usize>(bytes: &[u8], out: &mut [T], decode: impl Fn([u8; N]) -> T) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (o, &b) in out.iter_mut().zip(elements) {
        *o = decode(b);
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F8E4m3 => "F8_E4M3",
            Self::I8 => "I8",
        })
    }
}

/// The 256 values of e4m3.
static E4M3: [f32; 256] = {
    let mut table = [0.0; 256];
    let mut bits = 0;
    while bits < 256 {
        table[bits] = e4m3_value(bits);
        bits += 1;
    }
    table
};

/// One sign bit, four exponent bits with bias 7, three mantissa bits.
const fn e4m3_value(bits: usize) -> f32 {
    let (exponent, mantissa) = ((bits >> 3) & 15, (bits & 7) as f32);
    let magnitude = if bits & 0x7f == 0x7f {
        f32::NAN
    } else if exponent == 0 {
        mantissa / 512.0
    } else {
        (1.0 + mantissa / 8.0) * ((1_usize << exponent) as f32) / 128.0
    };
    if bits & 0x80 == 0 { magnitude } else { -magnitude }
}

/// `v` in `f32`, an inexact value rounded to the neighbour whose last bit is 1.
///
/// The odd bit marks the value as inexact, so rounding once more, to 16 bits, sees no false tie.
/// (`half`'s own conversions from `f64` drop bits before they round.)
fn to_odd(v: f64) -> f32 {
    let nearest = <f32 as Scalar>::from_f64(v);
    let bits = nearest.to_bits();
    match f64::from(nearest).abs().partial_cmp(&v.abs()) {
        Some(Ordering::Greater) if bits & 1 == 0 => f32::from_bits(bits - 1),
        Some(Ordering::Less) if bits & 1 == 0 => f32::from_bits(bits + 1),
        _ => nearest,
    }
}

fn e4m3_from_f64(v: f64) -> u8 {
    let sign = if v.is_sign_negative() { 0x80 } else { 0 };
    if v.is_nan() {
        return sign | 0x7f;
    }
    let v = v.abs().min(448.0);
    let above = E4M3[..0x7f].partition_point(|&t| f64::from(t) < v).min(0x7e);
    let below = above.saturating_sub(1);
    let (down, up) = (v - f64::from(E4M3[below]), f64::from(E4M3[above]) - v);
    let nearest = if down < up || (down <= up && below % 2 == 0) { below } else { above };
    #[expect(clippy::cast_possible_truncation, reason = "an index below 127")]
    let magnitude = nearest as u8;
    sign | magnitude
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to what an i8 holds")]
fn i8_from_f64(v: f64) -> i8 {
    v.round_ties_even().clamp(-127.0, 127.0) as i8
}
