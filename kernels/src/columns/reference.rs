//! The definition of [`columns`](crate::columns).

use ndarray::{ArrayD, Axis, Slice};

use crate::{KernelError, Scalar};

pub(crate) fn split<T: Scalar>(
    x: &ArrayD<T>,
    at: usize,
) -> Result<(ArrayD<T>, ArrayD<T>), KernelError> {
    super::check_split(x.shape(), at)?;
    let part = |slice: Slice| {
        let part = x.slice_axis(Axis(x.ndim() - 1), slice);
        let mut copy = ArrayD::zeros(part.shape());
        copy.assign(&part);
        copy
    };
    Ok((part(Slice::from(..at)), part(Slice::from(at..))))
}

pub(crate) fn join<T: Scalar>(a: &ArrayD<T>, b: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
    super::check_join(a.shape(), b.shape())?;
    let (last, at) = (a.ndim() - 1, a.shape()[a.ndim() - 1]);
    let mut shape = a.shape().to_vec();
    shape[last] += b.shape()[last];
    let zeros = vec![T::zero(); a.len() + b.len()];
    let mut joined = ArrayD::from_shape_vec(shape, zeros)
        .map_err(|_| KernelError::shape("join: b", b.shape(), "too large to join"))?;
    joined.slice_axis_mut(Axis(last), Slice::from(..at)).assign(a);
    joined.slice_axis_mut(Axis(last), Slice::from(at..)).assign(b);
    Ok(joined)
}

pub(crate) fn select<T: Scalar>(x: &ArrayD<T>, rows: &[usize]) -> Result<ArrayD<T>, KernelError> {
    super::check_select(x.shape(), rows)?;
    Ok(x.select(Axis(0), rows).as_standard_layout().into_owned())
}
