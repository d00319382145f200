//! Weights as kernels read them: a stored type's bytes become vectors in registers.

use std::marker::PhantomData;

use super::Isa;
use super::simd::{Kernel, LANES, Simd};
use crate::{Dtype, Weight};

/// A type that elements are stored in.
pub trait Element: Copy + 'static {
    /// The bytes of an element.
    const BYTES: usize;
    /// What loaded elements are to be multiplied by, a power of two: scales take it in.
    const UNIT: f32 = 1.0;

    /// Sixteen elements, exact but for [`UNIT`](Self::UNIT).
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and sixteen elements can be read.
    unsafe fn load<S: Simd>(from: *const u8) -> S::V;

    /// Thirty-two elements.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and thirty-two elements can be read.
    #[inline(always)]
    unsafe fn load_two<S: Simd>(from: *const u8) -> [S::V; 2] {
        // SAFETY: by the contract of this function.
        unsafe { [Self::load::<S>(from), Self::load::<S>(from.add(LANES * Self::BYTES))] }
    }

    /// The first `n` elements, zeros behind them.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, and `n` elements, at most sixteen, can be read.
    #[inline(always)]
    unsafe fn load_first<S: Simd>(from: *const u8, n: usize) -> S::V {
        let mut bytes = [0_u8; LANES * 4];
        // SAFETY: by the contract of this function.
        unsafe {
            std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), n * Self::BYTES);
            Self::load::<S>(bytes.as_ptr())
        }
    }
}

macro_rules! element {
    ($name:ident, $bytes:literal, $doc:literal, |$from:ident| $load:expr) => {
        #[doc = $doc]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Element for $name {
            const BYTES: usize = $bytes;

            #[inline(always)]
            unsafe fn load<S: Simd>($from: *const u8) -> S::V {
                // SAFETY: by the contract of the trait.
                unsafe { $load }
            }
        }
    };
}

element!(F32, 4, "[`Dtype::F32`]", |from| S::load(from.cast()));
element!(Bf16, 2, "[`Dtype::Bf16`]", |from| S::load_bf16(from));
element!(F16, 2, "[`Dtype::F16`]", |from| S::load_f16(from));
element!(I8, 1, "[`Dtype::I8`]", |from| S::load_i8(from));

/// [`Dtype::F8E4m3`]
#[derive(Debug, Clone, Copy)]
pub struct E4m3;

impl Element for E4m3 {
    const BYTES: usize = 1;
    const UNIT: f32 = 256.0;

    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::V {
        // SAFETY: by the contract of the trait.
        unsafe { S::load_e4m3_256th(from) }
    }
    #[inline(always)]
    unsafe fn load_two<S: Simd>(from: *const u8) -> [S::V; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { S::load_two_e4m3_256th(from) }
    }
}

/// Rows of a weight of one stored type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) cols: usize,
    pub(crate) scales: Option<Scales<'a>>,
}

/// Block scales whose blocks are whole vectors wide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scales<'a> {
    pub(crate) values: &'a [f32],
    /// The scales of a row of blocks.
    pub(crate) across: usize,
    /// The rows of a block.
    pub(crate) height: usize,
    /// Its vectors.
    pub(crate) vectors: usize,
}

impl<'a> Stored<'a> {
    /// The rows of `w`, or nothing where its elements or blocks are none that kernels read.
    pub(crate) fn of(w: &'a Weight) -> Option<Self> {
        let scales = match w.scale() {
            None => None,
            Some(scale) => {
                let [height, width] = scale.block;
                // The unit of e4m3 must fit into its scales.
                if w.dtype() == Dtype::F8E4m3 && w.largest_scale() > f32::MAX / E4m3::UNIT {
                    return None;
                }
                // A single block may be wider than the weight.
                let vectors = width.min(w.cols().next_multiple_of(LANES)) / LANES;
                if !width.is_multiple_of(LANES) && width < w.cols() {
                    return None;
                }
                let across = w.cols().div_ceil(width);
                Some(Scales { values: &scale.values, across, height, vectors: vectors.max(1) })
            }
        };
        (w.dtype() != Dtype::F64).then(|| Self {
            bytes: w.bytes().as_slice(),
            cols: w.cols(),
            scales,
        })
    }

    /// Where row `row` begins.
    ///
    /// # Panics
    /// When there is no such row.
    #[inline(always)]
    pub(crate) fn row<E: Element>(&self, row: usize) -> *const u8 {
        let width = self.cols * E::BYTES;
        self.bytes[row * width..][..width].as_ptr()
    }

    /// The bytes of so many rows from `first` on.
    ///
    /// # Panics
    /// When there are no such rows.
    #[inline(always)]
    pub(crate) fn rows_of<E: Element>(&self, first: usize, rows: usize) -> &'a [u8] {
        let width = self.cols * E::BYTES;
        &self.bytes[first * width..][..rows * width]
    }

    /// The scales of row `row`, from left to right; 1 where there are none.
    #[inline(always)]
    pub(crate) fn scales_of(&self, row: usize) -> &'a [f32] {
        match self.scales {
            Some(s) => &s.values[row / s.height * s.across..][..s.across],
            None => &[1.0],
        }
    }

    /// The lines of 32 columns that share a scale, or nothing where one has more than one.
    #[inline(always)]
    pub(crate) fn lines_per_scale(&self) -> Option<usize> {
        match self.scales {
            Some(s) if s.across > 1 => s.vectors.is_multiple_of(2).then_some(s.vectors / 2),
            _ => Some(usize::MAX),
        }
    }

    /// The vectors that share a scale.
    #[inline(always)]
    pub(crate) fn vectors_per_scale(&self) -> usize {
        self.scales.map_or(usize::MAX, |s| s.vectors)
    }
}

/// Writes the values of row `row` of `w`, whose form is `stored`, to `to`.
pub(crate) fn widen_row(
    isa: Isa,
    w: &Weight,
    stored: Option<Stored<'_>>,
    row: usize,
    to: &mut [f32],
) {
    let Some(stored) = stored else {
        return w.decode_row(row, to);
    };
    assert!(to.len() == stored.cols, "a row");
    match w.dtype() {
        Dtype::F32 | Dtype::F64 => isa.run(Widen::<F32> { stored, row, to, element: PhantomData }),
        Dtype::Bf16 => isa.run(Widen::<Bf16> { stored, row, to, element: PhantomData }),
        Dtype::F16 => isa.run(Widen::<F16> { stored, row, to, element: PhantomData }),
        Dtype::I8 => isa.run(Widen::<I8> { stored, row, to, element: PhantomData }),
        Dtype::F8E4m3 => isa.run(Widen::<E4m3> { stored, row, to, element: PhantomData }),
    }
}

/// A row to widen.
struct Widen<'a, E> {
    stored: Stored<'a>,
    row: usize,
    to: &'a mut [f32],
    element: PhantomData<E>,
}

impl<E: Element> Kernel for Widen<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (from, scales) = (self.stored.row::<E>(self.row), self.stored.scales_of(self.row));
        let per_scale = self.stored.vectors_per_scale();
        let mut last = [0.0; LANES];
        for at in 0..self.to.len().div_ceil(LANES) {
            let n = (self.to.len() - at * LANES).min(LANES);
            // SAFETY: the row has `n` elements there, and so has `to`.
            unsafe {
                let from = from.add(at * LANES * E::BYTES);
                let v = if n == LANES { E::load::<S>(from) } else { E::load_first::<S>(from, n) };
                let v = S::mul(v, S::splat(scales[at / per_scale] * E::UNIT));
                if n == LANES {
                    S::store(self.to.as_mut_ptr().add(at * LANES), v);
                } else {
                    S::store(last.as_mut_ptr(), v);
                    self.to[at * LANES..].copy_from_slice(&last[..n]);
                }
            }
        }
    }
}
