//! The gradients of the norm: with `r = 1 / sqrt(mean(x²) + eps)` and `y = gain * x * r`,
//!
//! `dx_i = r (g_i dy_i - x_i r² mean_j(g_j dy_j x_j))`, `dgain_i = Σ_rows dy_i x_i r`.
//!
//! # Shapes
//! - `x`, `dy`: `[.., dim]`, `gain`: `[dim]`
//! - returns `dx` `[.., dim]` and `dgain` `[dim]`, the sum over all rows in their order
//!
//! No rows give a `dgain` of zeros.

pub(crate) mod cpu;

use ndarray::ArrayD;

use crate::linear::dot;
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar};

/// Proves the arguments of the gradients.
///
/// # Errors
/// Those of [`check`](super::check), and [`KernelError::Shape`] when `dy` does not have the shape
/// of `x`.
pub fn check_backward(
    x: &[usize],
    gain: &[usize],
    eps: f64,
    dy: &[usize],
) -> Result<(), KernelError> {
    super::check(x, gain, eps)?;
    KernelError::check_shape("rms_norm: dy", dy, x)
}

pub(crate) fn rms_norm_backward<T: Scalar>(
    x: &ArrayD<T>,
    gain: &ArrayD<T>,
    eps: f64,
    dy: &ArrayD<T>,
) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
    check_backward(x.shape(), gain.shape(), eps, dy.shape())?;
    let dim = gain.len();
    let (gain, n) = (rows(gain), T::from_f64(dim as f64));
    let mut dx = vec![T::zero(); x.len()];
    let mut d_gain = vec![T::zero(); dim];
    let each = rows(x).chunks_exact(dim.max(1)).zip(rows(dy).chunks_exact(dim.max(1)));
    for ((x, dy), dx) in each.zip(dx.chunks_exact_mut(dim.max(1))) {
        let scale = (dot(x, x) / n + T::from_f64(eps)).sqrt().recip();
        let g_dy: Vec<T> = gain.iter().zip(dy).map(|(&g, &dy)| g * dy).collect();
        let along = scale * scale * dot(&g_dy, x) / n;
        for i in 0..dim {
            dx[i] = scale * (g_dy[i] - x[i] * along);
            d_gain[i] += dy[i] * (x[i] * scale);
        }
    }
    Ok((from_vec(dx, x.shape())?, from_vec(d_gain, &[dim])?))
}
