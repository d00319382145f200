//! The definition of [`argmax`](crate::argmax).

use ndarray::ArrayD;

use crate::reference::rows;
use crate::{KernelError, Scalar};

pub(crate) fn argmax<T: Scalar>(x: &ArrayD<T>) -> Result<Vec<Option<u32>>, KernelError> {
    super::check(x.shape())?;
    let (count, width) = match x.shape() {
        [leading @ .., width] => (leading.iter().product(), *width),
        [] => (0, 0),
    };
    Ok((0..count).map(|row| of_row(&rows(x)[row * width..][..width])).collect())
}

fn of_row<T: Scalar>(row: &[T]) -> Option<u32> {
    if row.iter().any(|v| v.is_nan() || *v == T::infinity()) {
        return None;
    }
    let mut best = (None, T::neg_infinity());
    for (i, &v) in (0..).zip(row) {
        if v > best.1 {
            best = (Some(i), v);
        }
    }
    best.0
}
