//! [`combine`](crate::dispatch) on this processor: tokens are shared by the threads, and each is summed
//! as the definition says.

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use latent_kernels::Scalar;
use latent_kernels::cpu::{Cpu, filled};
use ndarray::ArrayD;

use crate::Dispatch;

/// The sum of the weighted rows of each token, and behind it that of `more` where there is any, `[token, dim]`.
pub(crate) fn combine(
    cpu: &Cpu,
    rows: &[f32],
    dispatch: &Dispatch,
    more: &[f32],
    dim: usize,
) -> Vec<f32> {
    let tokens = dispatch.rows.len() / dispatch.num_experts_per_tok.max(1);
    let sum = |y: &mut [f32], token: usize| {
        y.fill(0.0);
        for &row in dispatch.rows_of_token(token) {
            let weight = f32::from_f64(dispatch.weights()[row]);
            for (y, r) in y.iter_mut().zip(&rows[row * dim..][..dim]) {
                *y += weight * r;
            }
        }
        if let Some(more) = more.get(token * dim..(token + 1) * dim) {
            for (y, more) in y.iter_mut().zip(more) {
                *y += more;
            }
        }
    };
    // SAFETY: a token is one task's, which writes all of it.
    unsafe {
        filled(tokens * dim, |parts| {
            cpu.pool().run(tokens, &|token| {
                sum(parts.part(token * dim..(token + 1) * dim), token);
            });
        })
    }
}

/// The elements of an array of this backend, last axis fastest.
pub(crate) fn elements(x: &ArrayD<f32>) -> &[f32] {
    x.as_slice().expect("arrays of this backend are in standard layout")
}

/// As many values as `shape` says.
pub(crate) fn array(values: Vec<f32>, shape: [usize; 2]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(shape.to_vec(), values).expect("as many values as the shape says")
}
