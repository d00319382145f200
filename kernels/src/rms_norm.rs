//! Root-mean-square normalisation, `y = gain * x / sqrt(mean(x²) + eps)`.
//!
//! # Shapes
//! - `x`: `[.., dim]`, each row normalised by itself
//! - `gain`: `[dim]`
//! - returns the shape of `x`
//!
//! A row of zeros gives zeros, since `eps` is above 0. `dim = 0` gives an empty array. Squares are
//! summed in the backend's scalar: where they overflow (from about `1e19` in `f32`) the mean is ∞
//! and a row of finite values gives zeros.
//!
//! ```
//! use latent_kernels::{Backend, Reference};
//! let cpu = Reference::<f64>::new();
//! let x = cpu.upload(&[1.0, 7.0], &[1, 2])?; // mean of squares 25
//! let gain = cpu.upload(&[1.0, 10.0], &[2])?;
//! let y = cpu.download(&cpu.rms_norm(&x, &gain, 1e-12)?)?;
//! assert!((y[0] - 0.2).abs() < 1e-12 && (y[1] - 14.0).abs() < 1e-12);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```
//!
//! # Source
//! Zhang and Sennrich, *Root Mean Square Layer Normalization* (arXiv 1910.07467), equation 4; the
//! `eps` under the root is that of the released models.

use crate::KernelError;

pub mod backward;
pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

/// Proves the arguments of a norm.
///
/// ```
/// use latent_kernels::rms_norm::check;
/// assert!(check(&[5, 80], &[80], 1e-6).is_ok());
/// assert!(check(&[5, 80], &[5], 1e-6).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when `gain` is not as long as a row of `x`, [`KernelError::Setting`]
/// when `eps` is not a normal number above 0 in `f32`: one that rounds to 0 would turn a row of
/// zeros into NaN.
pub fn check(x: &[usize], gain: &[usize], eps: f64) -> Result<(), KernelError> {
    if x.is_empty() || gain != &x[x.len() - 1..] {
        return Err(KernelError::shape("rms_norm: gain", gain, format!("x has shape {x:?}")));
    }
    if !(f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX)).contains(&eps) {
        let (name, found) = ("rms_norm: eps".into(), eps.to_string());
        return Err(KernelError::Setting { name, found, wanted: "a number above 0 in f32".into() });
    }
    Ok(())
}
