//! The linear map `y = x wᵀ`.
//!
//! # Shapes
//! - `x`: `[.., in]`
//! - `w`: `[out, in]`, in its stored dtype
//! - returns `[.., out]`
//!
//! Each output is one sum over `in` in an order that the backend fixes, whatever the number of
//! rows: a token's result has the same bits alone and in a batch. `in = 0` gives zeros.
//!
//! ```
//! use latent_kernels::{Backend, Dtype, Reference, Weight};
//! let cpu = Reference::<f64>::new();
//! let w = cpu.matrix(Weight::encode(Dtype::F32, [1, 2], &[10.0_f32, 1.0])?)?;
//! let x = cpu.upload(&[1.0, 2.0, 3.0, 4.0], &[2, 2])?;
//! assert_eq!(cpu.download(&cpu.linear(&x, &w)?)?, [12.0, 34.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::KernelError;

pub mod backward;
pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
pub(crate) mod reference;

pub use reference::{add_scaled, dot};

/// The sizes of one linear map, proved to fit together.
///
/// ```
/// use latent_kernels::linear::Problem;
/// assert_eq!(Problem::new(&[5, 80], [320, 80])?.y_shape(), [5, 320]);
/// assert!(Problem::new(&[5, 80], [80, 320]).is_err());
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// All axes of `x` but the last.
    pub leading: Vec<usize>,
    /// The columns of `w`.
    pub in_features: usize,
    /// The rows of `w`.
    pub out_features: usize,
}

impl Problem {
    /// Proves that `x` and `w` fit together.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when the last axis of `x` is not as long as a row of `w`, or the
    /// result would have more elements than a `usize` counts.
    pub fn new(x: &[usize], [out_features, in_features]: [usize; 2]) -> Result<Self, KernelError> {
        let leading = match x.split_last() {
            Some((&last, leading)) if last == in_features => leading.to_vec(),
            _ => {
                return Err(KernelError::shape(
                    "linear: x",
                    x,
                    format!("want [.., {in_features}]"),
                ));
            }
        };
        let rows = leading.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        if rows.and_then(|n| n.checked_mul(out_features)).is_none() {
            let wanted = format!("too large for {out_features} outputs a row");
            return Err(KernelError::shape("linear: x", x, wanted));
        }
        Ok(Self { leading, in_features, out_features })
    }

    /// The number of rows of `x`.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.leading.iter().product()
    }

    /// The shape of the result.
    #[must_use]
    pub fn y_shape(&self) -> Vec<usize> {
        [&self.leading[..], &[self.out_features]].concat()
    }
}
