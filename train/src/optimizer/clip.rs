//! Clipping by the norm of all gradients together.

use latent_kernels::Scalar;
use rayon::prelude::*;

use super::error::{OptimError, wanted};
use super::{CHUNK, check_values};
use crate::Parameters;

/// The partial sums of a chunk's squares.
const LANES: usize = 8;

/// Scales all gradients by one factor, so that their L2 norm together is `max_norm` at most, and
/// returns the norm that they had.
///
/// Squares are summed in `f64` in an order that depends on the names and lengths alone, so the
/// number of threads changes no bit. Gradients whose norm is `max_norm` or less are not touched; an
/// infinite `max_norm` measures only. No tensors, or zeros, have a norm of 0. V3 clips at 1.
///
/// ```
/// use latent_train::{Array, Parameters, clip_global_norm};
/// let mut gradients = Parameters::default();
/// gradients.insert("a", Array::new(&[1], vec![3.0_f32]).unwrap());
/// gradients.insert("b", Array::new(&[1], vec![4.0_f32]).unwrap());
/// assert_eq!(clip_global_norm(&mut gradients, 2.5)?, 5.0);
/// assert_eq!(gradients.get("b").unwrap().values(), [2.0]);
/// # Ok::<(), latent_train::OptimError>(())
/// ```
///
/// # Errors
/// [`OptimError::Setting`] when `max_norm` is NaN or not above 0, [`OptimError::Value`] at an element
/// that is NaN, infinite, or too large for its type to hold its square, [`OptimError::Norm`] where
/// the sum overflows all the same. Nothing is changed then.
///
/// # Source
/// Pascanu et al., *On the difficulty of training recurrent neural networks* (arXiv 1211.5063),
/// algorithm 1; DeepSeek-V3 (arXiv 2412.19437), section 4.2.
pub fn clip_global_norm<T: Scalar>(
    gradients: &mut Parameters<T>,
    max_norm: f64,
) -> Result<f64, OptimError> {
    wanted(max_norm > 0.0, "max_norm", max_norm, "a number above 0")?;
    let mut squares = 0.0;
    for (name, gradient) in gradients.iter() {
        check_values("gradient", name, gradient.values())?;
        squares += sum_of_squares(gradient.values());
        if !squares.is_finite() {
            return Err(OptimError::Norm { name: name.into(), found: squares });
        }
    }
    let norm = squares.sqrt();
    if norm > max_norm {
        let factor = max_norm / norm;
        for (_, gradient) in gradients.iter_mut() {
            scale(gradient.values_mut(), factor);
        }
    }
    Ok(norm)
}

fn sum_of_squares<T: Scalar>(values: &[T]) -> f64 {
    if values.len() <= CHUNK {
        return sum_of_chunk(values);
    }
    // One sum for each chunk, then the sums in their order.
    values.par_chunks(CHUNK).map(sum_of_chunk).collect::<Vec<_>>().into_iter().sum()
}

fn sum_of_chunk<T: Scalar>(values: &[T]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for l in 0..LANES {
            lanes[l] += block[l].as_f64() * block[l].as_f64();
        }
    }
    lanes.into_iter().chain(rest.iter().map(|v| v.as_f64() * v.as_f64())).sum()
}

/// In `f64`: a factor may be too small for `f32`.
fn scale<T: Scalar>(values: &mut [T], factor: f64) {
    let chunk = |values: &mut [T]| {
        for v in values {
            *v = T::from_f64(v.as_f64() * factor);
        }
    };
    if values.len() <= CHUNK {
        return chunk(values);
    }
    values.par_chunks_mut(CHUNK).for_each(chunk);
}
