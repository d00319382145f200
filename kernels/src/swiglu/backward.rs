//! The gradients of the gate: with `σ(z) = 1 / (1 + e⁻ᶻ)` and `y = silu(gate) * up`,
//!
//! `dgate = dy * up * σ(gate) (1 + gate (1 - σ(gate)))`, `dup = dy * silu(gate)`.
//!
//! # Shapes
//! - `gate`, `up`, `dy`: any equal shape
//! - returns `dgate` and `dup` of that shape
//!
//! Where the gate is `-∞` it is closed: both are 0 times what they multiply.

pub(crate) mod cpu;

use ndarray::{ArrayD, Zip};

use super::reference::silu;
use crate::{KernelError, Scalar};

/// Proves the arguments of the gradients.
///
/// # Errors
/// [`KernelError::Shape`] when the shapes differ.
pub fn check_backward(gate: &[usize], up: &[usize], dy: &[usize]) -> Result<(), KernelError> {
    super::check(gate, up)?;
    KernelError::check_shape("swiglu: dy", dy, gate)
}

pub(crate) fn swiglu_backward<T: Scalar>(
    gate: &ArrayD<T>,
    up: &ArrayD<T>,
    dy: &ArrayD<T>,
) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
    check_backward(gate.shape(), up.shape(), dy.shape())?;
    let d_gate = Zip::from(gate).and(up).and(dy).map_collect(|&g, &u, &dy| dy * u * slope(g));
    let d_up = Zip::from(gate).and(dy).map_collect(|&g, &dy| dy * silu(g));
    Ok((d_gate, d_up))
}

/// The derivative of `silu`.
fn slope<T: Scalar>(z: T) -> T {
    if z == T::neg_infinity() {
        return T::zero();
    }
    let sigmoid = (T::one() + (-z).exp()).recip();
    sigmoid + silu(z) * (T::one() - sigmoid)
}
