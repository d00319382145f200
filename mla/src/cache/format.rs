//! How cached rows are stored: as they are, or rounded to fewer bits.

use std::fmt;

use latent_kernels::{Dtype, Scalar};

use crate::{AttentionConfig, MlaError};

/// The elements of a latent that share a scale.
pub(crate) const SCALE_BLOCK: usize = 128;

/// The smallest largest magnitude that a scale is made for.
pub(crate) const SMALLEST: f32 = 1e-4;

/// What the largest magnitude times gives the scale: e4m3 ends at 448.
pub(crate) const PER_LARGEST: f32 = 1.0 / 448.0;

/// How a cache stores its rows. What is attended to is what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CacheFormat {
    /// In the backend's scalar, unrounded.
    #[default]
    Scalar,
    /// Every element in bf16.
    Bf16,
    /// Latents in e4m3 with one `f32` scale per 128 elements, rotated keys in bf16: for latent
    /// attention alone.
    Fp8,
}

impl fmt::Display for CacheFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scalar => "unrounded",
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
        })
    }
}

impl CacheFormat {
    /// How it stores the rows of a layer.
    ///
    /// # Errors
    /// [`MlaError::Config`] for FP8 in a layer without a latent.
    pub fn of_rows(self, config: &AttentionConfig) -> Result<RowFormat, MlaError> {
        match (self, config) {
            (Self::Scalar, _) => Ok(RowFormat::Scalar),
            (Self::Bf16, _) => Ok(RowFormat::Bf16),
            (Self::Fp8, AttentionConfig::Latent(c)) => {
                Ok(RowFormat::Fp8 { latent: c.kv_lora_rank })
            }
            (Self::Fp8, AttentionConfig::Grouped(_)) => {
                Err(MlaError::config("cache format", self, "bf16 or unrounded without a latent"))
            }
        }
    }
}

/// How one row is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RowFormat {
    /// In the backend's scalar.
    Scalar,
    /// In bf16, filled up to a multiple of 4 bytes.
    Bf16,
    /// The first `latent` elements in e4m3, filled up to a multiple of 4 bytes; one `f32` scale for
    /// each 128 of them; the others in bf16, filled up likewise.
    Fp8 {
        /// The elements of the latent.
        latent: usize,
    },
}

impl RowFormat {
    /// The bytes of a row of `width` elements, where a scalar has `scalar_bytes`.
    ///
    /// ```
    /// use latent_mla::RowFormat;
    /// assert_eq!(RowFormat::Scalar.row_bytes(576, 4), 2304);
    /// assert_eq!(RowFormat::Bf16.row_bytes(576, 4), 1152);
    /// assert_eq!(RowFormat::Fp8 { latent: 512 }.row_bytes(576, 4), 512 + 4 * 4 + 2 * 64);
    /// ```
    #[must_use]
    pub fn row_bytes(self, width: usize, scalar_bytes: usize) -> usize {
        let bf16 = |n: usize| n.saturating_mul(2).saturating_add(2) / 4 * 4;
        match self {
            Self::Scalar => width.saturating_mul(scalar_bytes),
            Self::Bf16 => bf16(width),
            Self::Fp8 { latent } => {
                latent.saturating_add(3) / 4 * 4
                    + 4 * latent.div_ceil(SCALE_BLOCK)
                    + bf16(width.saturating_sub(latent))
            }
        }
    }

    /// Rounds a row to the values that this format stores.
    ///
    /// Scaled elements: with `s = max(largest magnitude, 1e-4) * (1 / 448)` of a block, each
    /// becomes the e4m3 nearest to `x * (1 / s)`, ties to even, times `s`; every product and
    /// quotient is rounded to `f32`. A block with an infinity becomes NaN.
    ///
    /// ```
    /// use latent_mla::RowFormat;
    /// let mut row = [1.0_f32, 0.01, 3.003];
    /// RowFormat::Bf16.round(&mut row);
    /// assert_eq!(row, [1.0, 0.010009766, 3.0]);
    /// ```
    ///
    /// # Source
    /// The 1 x 128 blocks of DeepSeek-V3 (arXiv 2412.19437), section 3.3.2; rotated keys
    /// unquantised as in its released kernels.
    pub fn round<T: Scalar>(self, row: &mut [T]) {
        match self {
            Self::Scalar => {}
            Self::Bf16 => round_to(Dtype::Bf16, row),
            Self::Fp8 { latent } => {
                let (latent, rotated) = row.split_at_mut(latent.min(row.len()));
                latent.chunks_mut(SCALE_BLOCK).for_each(round_block);
                round_to(Dtype::Bf16, rotated);
            }
        }
    }
}

impl RowFormat {
    /// A row as it is stored, in [`row_bytes`](Self::row_bytes) of an `f32`.
    pub(crate) fn encode(self, row: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.row_bytes(row.len(), 4));
        match self {
            Self::Scalar => return Dtype::F32.encode(row),
            Self::Bf16 => bytes.extend(Dtype::Bf16.encode(row)),
            Self::Fp8 { latent } => {
                let (latent, rotated) = row.split_at(latent.min(row.len()));
                let blocks = latent.chunks(SCALE_BLOCK).map(encode_block);
                let (codes, scales): (Vec<_>, Vec<_>) = blocks.unzip();
                bytes.extend(codes.concat());
                bytes.resize(bytes.len().next_multiple_of(4), 0);
                bytes.extend(Dtype::F32.encode(&scales));
                bytes.extend(Dtype::Bf16.encode(rotated));
            }
        }
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

fn round_to<T: Scalar>(dtype: Dtype, row: &mut [T]) {
    let bytes = dtype.encode(row);
    dtype.decode(&bytes, row);
}

/// Rounds elements that share a scale.
fn round_block<T: Scalar>(block: &mut [T]) {
    let (codes, scale) = encode_block(block);
    let mut stored = vec![0.0_f32; block.len()];
    Dtype::F8E4m3.decode(&codes, &mut stored);
    for (v, q) in block.iter_mut().zip(stored) {
        *v = T::from_f32(q * scale);
    }
}

/// Elements that share a scale, in e4m3, and the scale.
fn encode_block<T: Scalar>(block: &[T]) -> (Vec<u8>, f32) {
    let narrow = |v: &T| <f32 as Scalar>::from_f64(v.as_f64());
    let largest = block.iter().map(narrow).fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = largest.max(SMALLEST) * PER_LARGEST;
    let inverse = 1.0 / scale;
    let scaled: Vec<f32> = block.iter().map(|v| narrow(v) * inverse).collect();
    (Dtype::F8E4m3.encode(&scaled), scale)
}
