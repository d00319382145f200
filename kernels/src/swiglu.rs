//! The gate of a SwiGLU feed-forward block, `y = silu(gate) * up` with `silu(z) = z / (1 + e⁻ᶻ)`.
//!
//! # Shapes
//! - `gate`, `up`: any equal shape
//! - returns that shape
//!
//! A gate of `-∞` closes: its limit is `-0 * up`.
//!
//! ```
//! use latent_kernels::{Backend, Reference};
//! let cpu = Reference::<f64>::new();
//! let gate = cpu.upload(&[0.0, 100.0], &[2])?;
//! let up = cpu.upload(&[5.0, 3.0], &[2])?;
//! assert_eq!(cpu.download(&cpu.swiglu(&gate, &up)?)?, [0.0, 300.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```
//!
//! # Source
//! Shazeer, *GLU Variants Improve Transformer* (arXiv 2002.05202), equation 6.

use crate::KernelError;

pub mod backward;
pub mod cpu;
#[cfg(feature = "gpu")]
pub mod gpu;
pub(crate) mod reference;

/// Proves the arguments of a gate.
///
/// ```
/// use latent_kernels::swiglu::check;
/// assert!(check(&[5, 80], &[5, 80]).is_ok());
/// assert!(check(&[5, 80], &[80]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when the shapes differ.
pub fn check(gate: &[usize], up: &[usize]) -> Result<(), KernelError> {
    if gate == up {
        return Ok(());
    }
    Err(KernelError::shape("swiglu: up", up, format!("gate has shape {gate:?}")))
}
