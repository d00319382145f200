//! A draw from each row by the softmax of its elements: sampling at a temperature.
//!
//! # Shapes
//! - `x`: `[.., dim]`, the logits
//! - `draws`: a number of `[0, 1)` for each row
//! - returns an index for each row, on the host
//!
//! With `w_i = exp((x_i - max) / temperature)`, it is the first index at which the running sum of
//! `w_i / Σ w` exceeds the row's draw; where rounding leaves the sum below it, the last index with a
//! weight. `-∞` is never drawn. A row that [`argmax`](crate::argmax) refuses gives `None`.
//!
//! The reference computes in `f64` whatever its scalar. A device computes in `f32`: a draw closer than
//! about 1e-6 to the border of two indices may give its neighbour.
//!
//! ```
//! use latent_kernels::{Backend, Reference};
//! let cpu = Reference::<f64>::new();
//! let x = cpu.upload(&[0.0, f64::NEG_INFINITY, 0.0], &[1, 3])?; // shares of a half, 0, and a half
//! assert_eq!(cpu.draw(&x, 1.0, &[0.4])?, [Some(0)]);
//! assert_eq!(cpu.draw(&x, 1.0, &[0.6])?, [Some(2)]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::KernelError;

#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

/// Proves the arguments of a draw.
///
/// ```
/// use latent_kernels::draw::check;
/// assert!(check(&[2, 3], 0.7, &[0.1, 0.2]).is_ok());
/// assert!(check(&[2, 3], 0.0, &[0.1, 0.2]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when there is not one draw for each row, [`KernelError::Setting`] when the
/// temperature is not a finite number above 0, or a draw lies outside of `[0, 1)`.
pub fn check(x: &[usize], temperature: f64, draws: &[f64]) -> Result<(), KernelError> {
    let setting = |name: &str, found: f64, wanted: &str| KernelError::Setting {
        name: name.into(),
        found: found.to_string(),
        wanted: wanted.into(),
    };
    match x {
        [leading @ .., _] if leading.iter().product::<usize>() == draws.len() => {}
        _ => return Err(KernelError::shape("draw: x", x, format!("want {} rows", draws.len()))),
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        return Err(setting("draw: temperature", temperature, "a finite number above 0"));
    }
    match draws.iter().find(|u| !(0.0..1.0).contains(*u)) {
        Some(&u) => Err(setting("draw", u, "in [0, 1)")),
        None => Ok(()),
    }
}
