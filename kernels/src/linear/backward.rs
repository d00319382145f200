//! The gradients of the linear map: for `y = x wᵀ`, `dx = dy w` and `dw = dyᵀ x`.
//!
//! # Shapes
//! - `x`: `[.., in]`, `w`: `[out, in]`, `dy`: `[.., out]`
//! - `dx`: `[.., in]`; each element is one sum over `out`
//! - `dw`: `[out, in]`; each element is one sum over all rows of `x`, in their order
//!
//! No rows give a `dw` of zeros. Both are computed in what the product with `w` is computed in.

pub mod cpu;

use ndarray::ArrayD;
use rayon::prelude::*;

use super::reference::add_scaled;
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar, Weight};

/// Proves the arguments of `dy w` and returns the shape of the result.
///
/// ```
/// use latent_kernels::linear::backward::check_grad_input;
/// assert_eq!(check_grad_input(&[5, 320], [320, 80])?, [5, 80]);
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when a row of `dy` does not have an element for each row of `w`, or the
/// result would have more elements than a `usize` counts.
pub fn check_grad_input(dy: &[usize], [out, cols]: [usize; 2]) -> Result<Vec<usize>, KernelError> {
    let Some((_, leading)) = dy.split_last().filter(|&(&last, _)| last == out) else {
        return Err(KernelError::shape("linear: dy", dy, format!("want [.., {out}]")));
    };
    let shape = [leading, &[cols]].concat();
    if shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis)).is_none() {
        return Err(KernelError::shape("linear: dy", dy, format!("too large for {cols} columns")));
    }
    Ok(shape)
}

/// Proves the arguments of `dyᵀ x`, the gradient of a weight `[out, in]`.
///
/// ```
/// use latent_kernels::linear::backward::check_grad_weight;
/// check_grad_weight(&[5, 80], &[5, 320], [320, 80])?;
/// assert!(check_grad_weight(&[5, 80], &[4, 320], [320, 80]).is_err());
/// assert!(check_grad_weight(&[5, 80], &[5, 320], [320, 81]).is_err());
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when the leading axes differ, or the last ones are not those of the weight.
pub fn check_grad_weight(
    x: &[usize],
    dy: &[usize],
    [out, cols]: [usize; 2],
) -> Result<(), KernelError> {
    match (x.split_last(), dy.split_last()) {
        (Some((&a, x)), Some((&b, dy))) if x == dy && [b, a] == [out, cols] => Ok(()),
        _ => {
            let wanted = format!("x has shape {x:?}, and the weight [{out}, {cols}]");
            Err(KernelError::shape("linear: dy", dy, wanted))
        }
    }
}

pub(crate) fn grad_input<T: Scalar>(dy: &ArrayD<T>, w: &Weight) -> Result<ArrayD<T>, KernelError> {
    let shape = check_grad_input(dy.shape(), [w.rows(), w.cols()])?;
    let (out, cols) = (w.rows(), w.cols());
    let mut dx = vec![T::zero(); shape.iter().product()];
    if out > 0 && cols > 0 {
        let w: Vec<T> = w.decode();
        let each = dx.par_chunks_exact_mut(cols).zip(rows(dy).par_chunks_exact(out));
        each.for_each(|(dx, dy)| {
            for (&dy, w) in dy.iter().zip(w.chunks_exact(cols)) {
                add_scaled(dx, dy, w);
            }
        });
    }
    from_vec(dx, &shape)
}

pub(crate) fn grad_weight<T: Scalar>(
    x: &ArrayD<T>,
    dy: &ArrayD<T>,
    w: &Weight,
) -> Result<ArrayD<T>, KernelError> {
    let (out, cols) = (w.rows(), w.cols());
    check_grad_weight(x.shape(), dy.shape(), [out, cols])?;
    let mut dw = vec![T::zero(); out * cols];
    if out > 0 && cols > 0 {
        let (x, dy) = (rows(x), rows(dy));
        dw.par_chunks_exact_mut(cols).enumerate().for_each(|(o, dw)| {
            for (x, dy) in x.chunks_exact(cols).zip(dy.chunks_exact(out)) {
                add_scaled(dw, dy[o], x);
            }
        });
    }
    from_vec(dw, &[out, cols])
}
