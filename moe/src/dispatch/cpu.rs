//! [`combine`](crate::dispatch) on this processor: tokens are shared by the threads, and each is summed
//! as the definition says.

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use latent_kernels::Scalar;
use latent_kernels::cpu::{Cpu, Parts};
use ndarray::ArrayD;

use super::check_rows;
use crate::{Dispatch, MoeError, Routing};

pub(crate) fn combine(
    cpu: &Cpu,
    rows: &ArrayD<f32>,
    routing: &Routing,
) -> Result<ArrayD<f32>, MoeError> {
    check_rows(rows.shape(), routing)?;
    let (dispatch, dim) = (Dispatch::new(routing), rows.shape()[1]);
    let mut y = ArrayD::zeros(vec![routing.tokens(), dim]);
    let (rows, parts) = (elements(rows), Parts::new(elements_mut(&mut y)));
    cpu.pool().run(routing.tokens(), &|token| {
        // SAFETY: a token is one task's.
        let y = unsafe { parts.part(token * dim..(token + 1) * dim) };
        for &row in dispatch.rows_of_token(token) {
            let weight = f32::from_f64(dispatch.weights()[row]);
            for (y, r) in y.iter_mut().zip(&rows[row * dim..][..dim]) {
                *y += weight * r;
            }
        }
    });
    Ok(y)
}

/// The elements of an array of this backend, last axis fastest.
pub(crate) fn elements(x: &ArrayD<f32>) -> &[f32] {
    x.as_slice().expect("arrays of this backend are in standard layout")
}

/// The same, to be written.
pub(crate) fn elements_mut(x: &mut ArrayD<f32>) -> &mut [f32] {
    x.as_slice_mut().expect("arrays of this backend are in standard layout")
}
