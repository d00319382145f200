//! The definition of [`swiglu`](crate::swiglu).

use ndarray::{ArrayD, Zip};

use crate::{KernelError, Scalar};

pub(crate) fn swiglu<T: Scalar>(
    gate: &ArrayD<T>,
    up: &ArrayD<T>,
) -> Result<ArrayD<T>, KernelError> {
    super::check(gate.shape(), up.shape())?;
    Ok(Zip::from(gate).and(up).map_collect(|&g, &u| silu(g) * u))
}

pub(super) fn silu<T: Scalar>(z: T) -> T {
    // At -∞ the quotient would be NaN; the limit is 0 from below.
    if z == T::neg_infinity() { T::neg_zero() } else { z / (T::one() + (-z).exp()) }
}
