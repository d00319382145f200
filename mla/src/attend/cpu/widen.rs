//! Stored rows become `f32`.

use std::ops::Range;

use latent_kernels::cpu::{Bf16, E4m3, Element, F32, Kernel, LANES, Simd};

use crate::RowFormat;
use crate::cache::SCALE_BLOCK;

/// Elements `part` of each of `count` rows from `rows` on.
pub(super) struct Widen<'a> {
    pub(super) rows: &'a [u8],
    pub(super) row_bytes: usize,
    pub(super) format: RowFormat,
    pub(super) width: usize,
    pub(super) part: Range<usize>,
    pub(super) count: usize,
    /// Takes row `i` at `i * stride`; a row may be written up to a vector beyond its end.
    pub(super) to: &'a mut [f32],
    pub(super) stride: usize,
}

impl Kernel for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (from, to) = (self.part.start, self.part.len());
        assert!(self.rows.len() >= self.count * self.row_bytes, "rows");
        assert!(self.to.len() >= self.count * self.stride && self.stride >= to + LANES, "room");
        for i in 0..self.count {
            let row = self.rows[i * self.row_bytes..].as_ptr();
            let to = self.to[i * self.stride..].as_mut_ptr();
            // SAFETY: rows hold their elements, and each has a vector of room behind its end.
            unsafe {
                match self.format {
                    RowFormat::Scalar => {
                        elements::<S, F32>(row.add(4 * from), self.part.len(), 1.0, to);
                    }
                    RowFormat::Bf16 => {
                        elements::<S, Bf16>(row.add(2 * from), self.part.len(), 1.0, to);
                    }
                    RowFormat::Fp8 { latent } => scaled_row::<S>(row, latent, self.width, to),
                }
            }
        }
    }
}

/// `n` elements times `scale`, zeros behind them up to a whole vector.
///
/// # Safety
/// The processor has the instructions of `S`, `n` elements can be read, and whole vectors written.
#[inline(always)]
unsafe fn elements<S: Simd, E: Element>(from: *const u8, n: usize, scale: f32, to: *mut f32) {
    // SAFETY: by the contract of this function.
    unsafe {
        let scale = S::splat(scale * E::UNIT);
        let mut at = 0;
        while at < n {
            let from = from.add(at * E::BYTES);
            let v =
                if n - at < LANES { E::load_first::<S>(from, n - at) } else { E::load::<S>(from) };
            S::store(to.add(at), S::mul(v, scale));
            at += LANES;
        }
    }
}

/// A row of a scaled latent and a rotated key.
///
/// # Safety
/// As [`elements`], for the bytes of a row of `width` elements.
#[inline(always)]
unsafe fn scaled_row<S: Simd>(row: *const u8, latent: usize, width: usize, to: *mut f32) {
    let scales = latent.next_multiple_of(4);
    let rotated = scales + 4 * latent.div_ceil(SCALE_BLOCK);
    // SAFETY: by the contract of this function.
    unsafe {
        let mut at = 0;
        while at < latent {
            let scale = row.add(scales + 4 * (at / SCALE_BLOCK)).cast::<f32>().read_unaligned();
            let n = (latent - at).min(SCALE_BLOCK);
            elements::<S, E4m3>(row.add(at), n, scale, to.add(at));
            at += n;
        }
        elements::<S, Bf16>(row.add(rotated), width - latent, 1.0, to.add(latent));
    }
}
