//! The definition of [`softmax`](crate::softmax).

use ndarray::ArrayD;

use crate::linear::dot;
use crate::reference::map_rows;
use crate::{KernelError, Scalar};

pub(crate) fn softmax<T: Scalar>(x: &ArrayD<T>) -> Result<ArrayD<T>, KernelError> {
    super::check(x.shape())?;
    map_rows(x, |row, y| {
        y.copy_from_slice(row);
        softmax_in_place(y);
    })
}

/// The gradient of a softmax by what it was made of: `p_i (dp_i - Σ_j p_j dp_j)` in place of `dp_i`.
///
/// An entry that got nothing, and a row of such entries, has the gradient 0.
///
/// ```
/// use latent_kernels::softmax::softmax_backward_in_place;
/// let mut d = [4.0, 2.0, 9.0];
/// softmax_backward_in_place(&[0.5, 0.5, 0.0], &mut d);
/// assert_eq!(d, [0.5, -0.5, 0.0]);
/// ```
pub fn softmax_backward_in_place<T: Scalar>(p: &[T], dp: &mut [T]) {
    let mean = dot(p, dp);
    for (dp, &p) in dp.iter_mut().zip(p) {
        *dp = p * (*dp - mean);
    }
}

/// The softmax of one row, summed in its order: what the reference of any operation over scores
/// uses.
///
/// ```
/// use latent_kernels::softmax::softmax_in_place;
/// let mut row = [3.0, 3.0, f64::NEG_INFINITY];
/// softmax_in_place(&mut row);
/// assert_eq!(row, [0.5, 0.5, 0.0]);
/// ```
pub fn softmax_in_place<T: Scalar>(row: &mut [T]) {
    // `Float::max` drops NaN, so a NaN shows in the sum, not in the maximum.
    let max = row.iter().fold(T::neg_infinity(), |m, &v| m.max(v));
    if max == T::neg_infinity() && row.iter().all(|v| !v.is_nan()) {
        row.fill(T::zero());
        return;
    }
    let mut sum = T::zero();
    for v in &mut *row {
        *v = (*v - max).exp();
        sum += *v;
    }
    for v in row {
        *v /= sum;
    }
}
