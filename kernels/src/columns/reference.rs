//! The definition of [`columns`](crate::columns).

use ndarray::{ArrayD, Axis, Slice, concatenate};

use crate::{KernelError, Scalar};

pub(crate) fn split<T: Scalar>(
    x: &ArrayD<T>,
    at: usize,
) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
    super::check_split(x.shape(), at)?;
    let last = Axis(x.ndim() - 1);
    let part = |slice| x.slice_axis(last, slice).as_standard_layout().into_owned();
    Ok((part(Slice::from(..at)), part(Slice::from(at..))))
}

pub(crate) fn join<T: Scalar>(a: &ArrayD<T>, b: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
    super::check_join(a.shape(), b.shape())?;
    let joined = concatenate(Axis(a.ndim() - 1), &[a.view(), b.view()])
        .map_err(|_| KernelError::shape("join: b", b.shape(), "too large to join"))?;
    Ok(joined.as_standard_layout().into_owned())
}

pub(crate) fn select<T: Scalar>(x: &ArrayD<T>, rows: &[usize]) -> Result<ArrayD<T>, KernelError> {
    super::check_select(x.shape(), rows)?;
    Ok(x.select(Axis(0), rows).as_standard_layout().into_owned())
}
