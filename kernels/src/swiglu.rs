//! The gate of a SwiGLU feed-forward block, `y = silu(gate) * up` with `silu(z) = z / (1 + e⁻ᶻ)`.
//!
//! # Shapes
//! - `gate`, `up`: any equal shape
//! - returns that shape
//!
//! A gate of `-∞` closes: its limit is `-0 * up`.
//!
//! # Source
//! Shazeer, *GLU Variants Improve Transformer* (arXiv 2002.05202), equation 6.

use crate::KernelError;

pub(crate) mod reference;

/// Proves the arguments of a gate.
///
/// # Errors
/// [`KernelError::Shape`] when the shapes differ.
pub fn check(gate: &[usize], up: &[usize]) -> Result<(), KernelError> {
    if gate == up {
        return Ok(());
    }
    Err(KernelError::shape("swiglu: up", up, format!("gate has shape {gate:?}")))
}
