//! The index of the largest element of each row: greedy choice.
//!
//! # Shapes
//! - `x`: `[.., dim]`
//! - returns an index for each row, on the host
//!
//! Ties go to the lowest index. A row with a NaN or a `+∞`, or without an element above `-∞`, has
//! no largest element: `None`. So has every row where `dim` is 0.
//!
//! ```
//! use latent_kernels::{Backend, Reference};
//! let cpu = Reference::<f64>::new();
//! let x = cpu.upload(&[1.0, 3.0, 3.0, 0.0, f64::NAN, 0.0], &[2, 3])?;
//! assert_eq!(cpu.argmax(&x)?, [Some(1), None]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::KernelError;

pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

/// Proves the argument of a choice.
///
/// ```
/// use latent_kernels::argmax::check;
/// assert!(check(&[0, 3]).is_ok());
/// assert!(check(&[]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when `x` has no axis.
pub fn check(x: &[usize]) -> Result<(), KernelError> {
    if x.is_empty() {
        return Err(KernelError::shape("argmax: x", x, "want at least one axis"));
    }
    Ok(())
}
