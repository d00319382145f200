//! [`combine`](crate::dispatch) on this processor: tokens are shared by the threads, and each is summed
//! as the definition says.

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use latent_kernels::Scalar;
use latent_kernels::cpu::{Cpu, Parts};
use ndarray::ArrayD;

use crate::Dispatch;

/// Adds the weighted rows of each token to its part of `y`, `[token, dim]`.
pub(crate) fn combine(cpu: &Cpu, rows: &[f32], dispatch: &Dispatch, y: &mut [f32]) {
    let tokens = dispatch.rows.len() / dispatch.num_experts_per_tok.max(1);
    let (dim, parts) = (y.len() / tokens.max(1), Parts::new(y));
    cpu.pool().run(tokens, &|token| {
        // SAFETY: a token is one task's.
        let y = unsafe { parts.part(token * dim..(token + 1) * dim) };
        for &row in dispatch.rows_of_token(token) {
            let weight = f32::from_f64(dispatch.weights()[row]);
            for (y, r) in y.iter_mut().zip(&rows[row * dim..][..dim]) {
                *y += weight * r;
            }
        }
    });
}

/// The elements of an array of this backend, last axis fastest.
pub(crate) fn elements(x: &ArrayD<f32>) -> &[f32] {
    x.as_slice().expect("arrays of this backend are in standard layout")
}

/// As many values as `shape` says.
pub(crate) fn array(values: Vec<f32>, shape: [usize; 2]) -> ArrayD<f32> {
    ArrayD::from_shape_vec(shape.to_vec(), values).expect("as many values as the shape says")
}
