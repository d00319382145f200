//! Softmax of each row, `y_i = exp(x_i - max) / Σ_j exp(x_j - max)`.
//!
//! # Shapes
//! - `x`: `[.., dim]`
//! - returns the shape of `x`
//!
//! An entry of `-∞` gets 0. A row of nothing but `-∞` gives zeros: it attends to nothing. A NaN or
//! a `+∞` makes its whole row NaN. `dim = 0` gives an empty array.

use crate::KernelError;

pub(crate) mod reference;

/// Proves the argument of a softmax.
///
/// # Errors
/// [`KernelError::Shape`] when `x` has no axis.
pub fn check(x: &[usize]) -> Result<(), KernelError> {
    if x.is_empty() {
        return Err(KernelError::shape("softmax: x", x, "want at least one axis"));
    }
    Ok(())
}
