//! The gradients of dispatch and combination, each the other's way back.

use latent_kernels::linear::{add_scaled, dot};
use latent_kernels::{Backend, Reference, Scalar};
use ndarray::ArrayD;

use super::{check_rows, check_tokens};
use crate::{Dispatch, MoeError, Routing};

/// `dx_t`, the sum of what the rows of token `t` got, in ascending expert id.
pub(crate) fn dispatch_backward<T: Scalar>(
    d_rows: &ArrayD<T>,
    routing: &Routing,
) -> Result<ArrayD<T>, MoeError> {
    check_rows(d_rows.shape(), routing)?;
    let (cpu, dispatch, dim) = (Reference::new(), Dispatch::new(routing), d_rows.shape()[1]);
    let d_rows = cpu.download(d_rows)?;
    let mut dx = vec![T::zero(); routing.tokens() * dim];
    for (token, dx) in dx.chunks_exact_mut(dim.max(1)).enumerate() {
        for &row in dispatch.rows_of_token(token) {
            add_scaled(dx, T::one(), &d_rows[row * dim..][..dim]);
        }
    }
    Ok(cpu.upload(&dx, &[routing.tokens(), dim])?)
}

/// `d_row = w_te dy_t` `[row, dim]`, and `dw_te = row · dy_t` `[token, num_experts_per_tok]`.
pub(crate) fn combine_backward<T: Scalar>(
    rows: &ArrayD<T>,
    routing: &Routing,
    dy: &ArrayD<T>,
) -> Result<(ArrayD<T>, ArrayD<T>), MoeError> {
    check_rows(rows.shape(), routing)?;
    check_tokens(dy.shape(), routing)?;
    let (cpu, dispatch, dim) = (Reference::new(), Dispatch::new(routing), rows.shape()[1]);
    let (values, dy) = (cpu.download(rows)?, cpu.download(dy)?);
    let mut d_rows = vec![T::zero(); values.len()];
    let mut d_weights = Vec::with_capacity(routing.experts().len());
    for token in 0..routing.tokens() {
        let dy = &dy[token * dim..][..dim];
        for &row in dispatch.rows_of_token(token) {
            let weight = T::from_f64(dispatch.weights()[row]);
            add_scaled(&mut d_rows[row * dim..][..dim], weight, dy);
            d_weights.push(dot(&values[row * dim..][..dim], dy));
        }
    }
    let shape = [routing.tokens(), routing.num_experts_per_tok()];
    Ok((cpu.upload(&d_rows, rows.shape())?, cpu.upload(&d_weights, &shape)?))
}
