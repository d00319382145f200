//! The definition of [`rms_norm`](crate::rms_norm).

use ndarray::ArrayD;

use crate::linear::reference::dot;
use crate::reference::map_rows;
use crate::{KernelError, Scalar};

pub(crate) fn rms_norm<T: Scalar>(
    x: &ArrayD<T>,
    gain: &ArrayD<T>,
    eps: f64,
) -> Result<ArrayD<T>, KernelError> {
    super::check(x.shape(), gain.shape(), eps)?;
    map_rows(x, |row, y| {
        let mean_square = dot(row, row) / T::from_f64(row.len() as f64);
        let scale = (mean_square + T::from_f64(eps)).sqrt().recip();
        for ((y, &x), &g) in y.iter_mut().zip(row).zip(gain) {
            *y = g * (x * scale);
        }
    })
}
