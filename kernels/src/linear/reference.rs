//! The definition of [`linear`](crate::linear): one dot product per output.

use ndarray::ArrayD;
use rayon::prelude::*;

use super::Problem;
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar, Weight};

/// The number of partial sums of a dot product.
const LANES: usize = 16;

pub(crate) fn linear<T: Scalar>(x: &ArrayD<T>, w: &Weight) -> Result<ArrayD<T>, KernelError> {
    let problem = Problem::new(x.shape(), [w.rows(), w.cols()])?;
    let (tokens, out) = (problem.rows(), problem.out_features);
    if tokens == 0 || out == 0 || w.cols() == 0 {
        return from_vec(vec![T::zero(); tokens * out], &problem.y_shape());
    }
    let x = rows(x);
    // A row of the weight is widened once, used for every token, and forgotten.
    let mut by_output = vec![T::zero(); out * tokens]; // [out, token]
    by_output.par_chunks_mut(tokens).enumerate().for_each_init(
        || vec![T::zero(); w.cols()],
        |w_row, (o, y)| {
            w.decode_row(o, w_row);
            for (y, x_row) in y.iter_mut().zip(x.chunks_exact(w_row.len())) {
                *y = dot(x_row, w_row);
            }
        },
    );
    let y = (0..tokens * out).map(|i| by_output[i % out * tokens + i / out]).collect();
    from_vec(y, &problem.y_shape())
}

/// `sum += factor * x`, element by element.
///
/// ```
/// let mut sum = [1.0, 2.0];
/// latent_kernels::linear::add_scaled(&mut sum, 10.0, &[1.0, 0.5]);
/// assert_eq!(sum, [11.0, 7.0]);
/// ```
pub fn add_scaled<T: Scalar>(sum: &mut [T], factor: T, x: &[T]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += factor * x;
    }
}

/// The dot product of two equally long rows: 16 partial sums, lane by lane, added in order. The
/// order depends on the length alone.
///
/// ```
/// assert_eq!(latent_kernels::linear::dot(&[1.0, 2.0], &[10.0, 1.0]), 12.0);
/// ```
pub fn dot<T: Scalar>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::zero(); LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for l in 0..LANES {
            lanes[l] += a[l] * b[l];
        }
    }
    for (l, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[l] += a * b;
    }
    lanes.into_iter().fold(T::zero(), |sum, lane| sum + lane)
}
