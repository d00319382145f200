//! The definition of [`add`](crate::add).

use ndarray::ArrayD;

use crate::{KernelError, Scalar};

pub(crate) fn add<T: Scalar>(a: &ArrayD<T>, b: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
    super::check(a.shape(), b.shape())?;
    Ok(a + b)
}
