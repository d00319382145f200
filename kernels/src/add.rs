//! The sum of two arrays, element by element: a residual connection.
//!
//! # Shapes
//! - `a`, `b`: any equal shape
//! - returns that shape
//!
//! ```
//! use latent_kernels::{Backend, Reference};
//! let cpu = Reference::<f64>::new();
//! let x = cpu.upload(&[1.0, 2.0], &[2])?;
//! assert_eq!(cpu.download(&cpu.add(&x, &x)?)?, [2.0, 4.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::KernelError;

pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

/// Proves the arguments of a sum.
///
/// ```
/// use latent_kernels::add::check;
/// assert!(check(&[5, 80], &[5, 80]).is_ok());
/// assert!(check(&[5, 80], &[80]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when the shapes differ: nothing is broadcast.
pub fn check(a: &[usize], b: &[usize]) -> Result<(), KernelError> {
    if a == b { Ok(()) } else { Err(KernelError::shape("add: b", b, format!("a has shape {a:?}"))) }
}
