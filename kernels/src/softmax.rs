//! Softmax of each row, `y_i = exp(x_i - max) / Σ_j exp(x_j - max)`.
//!
//! # Shapes
//! - `x`: `[.., dim]`
//! - returns the shape of `x`
//!
//! An entry of `-∞` gets 0. A row of nothing but `-∞` gives zeros: it attends to nothing. A NaN or
//! a `+∞` makes its whole row NaN. `dim = 0` gives an empty array.
//!
//! ```
//! use latent_kernels::{Backend, Reference};
//! let cpu = Reference::<f64>::new();
//! let x = cpu.upload(&[0.0, 0.0, f64::NEG_INFINITY], &[1, 3])?;
//! assert_eq!(cpu.download(&cpu.softmax(&x)?)?, [0.5, 0.5, 0.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::KernelError;

#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

pub use reference::{softmax_backward_in_place, softmax_in_place};

/// Proves the argument of a softmax.
///
/// ```
/// use latent_kernels::softmax::check;
/// assert!(check(&[0, 3]).is_ok());
/// assert!(check(&[]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when `x` has no axis.
pub fn check(x: &[usize]) -> Result<(), KernelError> {
    if x.is_empty() {
        return Err(KernelError::shape("softmax: x", x, "want at least one axis"));
    }
    Ok(())
}
