//! A weight as it lies in a file: its bytes, its dtype, and block scales where it has them.

use crate::{Bytes, Dtype, KernelError, Scalar};

/// One scale per block of an FP8 weight: `weight_scale_inv` in released files.
///
/// Blocks at the right and lower edge may be smaller.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockScale {
    /// Rows and columns of a block, `[128, 128]` in released files.
    pub block: [usize; 2],
    /// The scales, `[ceil(rows / block), ceil(cols / block)]`, row by row.
    pub values: Vec<f32>,
}

/// A matrix `[rows, cols]` in its stored dtype; a vector is a matrix of one row.
///
/// ```
/// use latent_kernels::{Dtype, Weight};
/// let w = Weight::encode(Dtype::Bf16, [2, 2], &[1.0_f32, 2.0, 3.0, 4.0])?;
/// let mut row = [0.0_f64; 2];
/// w.decode_row(1, &mut row);
/// assert_eq!(row, [3.0, 4.0]);
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Weight {
    rows: usize,
    cols: usize,
    dtype: Dtype,
    bytes: Bytes,
    scale: Option<BlockScale>,
    largest_scale: f32,
}

impl Weight {
    /// A weight over `bytes`, row by row.
    ///
    /// ```
    /// use latent_kernels::{BlockScale, Dtype, Weight};
    /// let scale = BlockScale { block: [1, 2], values: vec![1.0, 0.5] }; // e4m3 0x38 is 1
    /// let w = Weight::new(Dtype::F8E4m3, [1, 3], vec![0x38; 3].into(), Some(scale))?;
    /// assert_eq!(w.decode::<f32>(), [1.0, 1.0, 0.5]);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    ///
    /// # Errors
    /// [`KernelError::Length`] when `bytes` does not hold exactly `[rows, cols]` elements,
    /// [`KernelError::Shape`] when `scale` does not cover the matrix.
    pub fn new(
        dtype: Dtype,
        [rows, cols]: [usize; 2],
        bytes: Bytes,
        scale: Option<BlockScale>,
    ) -> Result<Self, KernelError> {
        check_length(dtype, [rows, cols], bytes.as_slice().len())?;
        if let Some(s) = &scale {
            let grid = [rows.div_ceil(s.block[0].max(1)), cols.div_ceil(s.block[1].max(1))];
            if s.block.contains(&0) || s.values.len() != grid[0] * grid[1] {
                let wanted = format!("blocks of {:?} want {grid:?} scales", s.block);
                return Err(KernelError::shape("weight_scale_inv", &[s.values.len()], wanted));
            }
        }
        let largest = |s: &BlockScale| {
            s.values
                .iter()
                .fold(0.0, |m: f32, s| if s.is_nan() { f32::INFINITY } else { m.max(s.abs()) })
        };
        let largest_scale = scale.as_ref().map_or(1.0, largest);
        Ok(Self { rows, cols, dtype, bytes, scale, largest_scale })
    }

    /// A weight made from values, each rounded to `dtype`; no block scales.
    ///
    /// # Errors
    /// [`KernelError::Length`] when `values` does not fit `shape`.
    pub fn encode<T: Scalar>(
        dtype: Dtype,
        shape: [usize; 2],
        values: &[T],
    ) -> Result<Self, KernelError> {
        Self::new(dtype, shape, dtype.encode(values).into(), None)
    }

    /// An FP8 weight with one scale per block, chosen so that each block's largest magnitude
    /// becomes 448, as in the released V3 files. `values` are finite: what is not spoils its block.
    ///
    /// ```
    /// use latent_kernels::Weight;
    /// let w = Weight::quantize_e4m3([1, 2], &[448.0, -224.0], [128, 128])?;
    /// assert_eq!(w.decode::<f32>(), [448.0, -224.0]);
    /// assert_eq!(w.stored_bytes(), 2 + 4);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    ///
    /// # Errors
    /// [`KernelError::Length`] when `values` does not fit `shape`, [`KernelError::Shape`] when
    /// `block` has a zero.
    pub fn quantize_e4m3<T: Scalar>(
        shape: [usize; 2],
        values: &[T],
        block: [usize; 2],
    ) -> Result<Self, KernelError> {
        Self::quantize(Dtype::F8E4m3, 448.0, shape, values, block)
    }

    /// A weight of whole numbers with one scale per block, chosen so that each block's largest
    /// magnitude becomes 127. `values` are finite: what is not spoils its block.
    ///
    /// ```
    /// use latent_kernels::Weight;
    /// let w = Weight::quantize_i8([1, 2], &[1.0, -0.25], [1, 64])?;
    /// assert_eq!(w.bytes().as_slice(), [127, 224]); // 127 and -32
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`quantize_e4m3`](Self::quantize_e4m3).
    pub fn quantize_i8<T: Scalar>(
        shape: [usize; 2],
        values: &[T],
        block: [usize; 2],
    ) -> Result<Self, KernelError> {
        Self::quantize(Dtype::I8, 127.0, shape, values, block)
    }

    /// A weight in `dtype` whose blocks are scaled so that their largest magnitude becomes `top`.
    fn quantize<T: Scalar>(
        dtype: Dtype,
        top: f64,
        [rows, cols]: [usize; 2],
        values: &[T],
        block: [usize; 2],
    ) -> Result<Self, KernelError> {
        check_length(dtype, [rows, cols], values.len())?;
        if block.contains(&0) {
            return Err(KernelError::shape("block", &block, "want sizes above 0"));
        }
        let across = cols.div_ceil(block[1]);
        let mut largest = vec![1e-12_f64; rows.div_ceil(block[0]) * across];
        for (i, v) in values.iter().enumerate() {
            let b = &mut largest[i / cols / block[0] * across + i % cols / block[1]];
            *b = b.max(v.as_f64().abs());
        }
        let scales: Vec<f32> = largest.iter().map(|m| <f32 as Scalar>::from_f64(m / top)).collect();
        let scaled: Vec<f64> = values
            .iter()
            .enumerate()
            .map(|(i, v)| {
                v.as_f64() / f64::from(scales[i / cols / block[0] * across + i % cols / block[1]])
            })
            .collect();
        let bytes = dtype.encode(&scaled).into();
        let scale = BlockScale { block, values: scales };
        Self::new(dtype, [rows, cols], bytes, Some(scale))
    }

    /// The number of rows: output features of a linear map, or entries of an embedding.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns: input features.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The stored element type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The stored bytes, without the scales.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The block scales, if there are any.
    #[must_use]
    pub fn scale(&self) -> Option<&BlockScale> {
        self.scale.as_ref()
    }

    /// The largest magnitude of its scales: infinite where one is NaN, 1 where there are none.
    ///
    /// ```
    /// use latent_kernels::{BlockScale, Dtype, Weight};
    /// let scale = BlockScale { block: [1, 2], values: vec![-2.0, 0.5] };
    /// let w = Weight::new(Dtype::F8E4m3, [1, 3], vec![0x38; 3].into(), Some(scale))?;
    /// assert_eq!(w.largest_scale(), 2.0);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    #[must_use]
    pub fn largest_scale(&self) -> f32 {
        self.largest_scale
    }

    /// The size as stored, scales included, in bytes.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        self.bytes.as_slice().len() + self.scale.as_ref().map_or(0, |s| s.values.len() * 4)
    }

    /// Decodes one row. A scaled value is the product rounded to `f32`, as released code has it.
    ///
    /// # Panics
    /// When `row` is not below [`rows`](Self::rows) or `out` is not [`cols`](Self::cols) long.
    pub fn decode_row<T: Scalar>(&self, row: usize, out: &mut [T]) {
        let width = self.cols * self.dtype.bytes();
        self.dtype.decode(&self.bytes.as_slice()[row * width..][..width], out);
        let Some(scale) = &self.scale else { return };
        let [height, width] = scale.block;
        let across = self.cols.div_ceil(width);
        let scales = &scale.values[row / height * across..][..across];
        for (block, &s) in out.chunks_mut(width).zip(scales) {
            for v in block {
                *v = T::from_f32(<f32 as Scalar>::from_f64(v.as_f64()) * s);
            }
        }
    }

    /// Decodes the whole weight, row by row: for vectors and tests, never for a large matrix.
    #[must_use]
    pub fn decode<T: Scalar>(&self) -> Vec<T> {
        let mut out = vec![T::zero(); self.rows * self.cols];
        for (row, out) in out.chunks_mut(self.cols.max(1)).enumerate() {
            self.decode_row(row, out);
        }
        out
    }
}

/// Proves that `found` bytes are exactly `[rows, cols]` elements.
fn check_length(dtype: Dtype, [rows, cols]: [usize; 2], found: usize) -> Result<(), KernelError> {
    let wanted = rows.checked_mul(cols).and_then(|n| n.checked_mul(dtype.bytes()));
    if wanted == Some(found) {
        return Ok(());
    }
    let (name, shape) = ("weight".into(), vec![rows, cols]);
    let wanted = wanted.unwrap_or(usize::MAX);
    Err(KernelError::Length { name, shape, dtype, found, wanted })
}
