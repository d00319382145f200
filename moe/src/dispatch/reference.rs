//! The definition of [`dispatch`](crate::dispatch).

use latent_kernels::{Backend, Reference, Scalar};
use ndarray::ArrayD;

use super::{check_rows, check_tokens};
use crate::{Dispatch, MoeError, Routing};

pub(crate) fn dispatch<T: Scalar>(x: &ArrayD<T>, routing: &Routing) -> Result<ArrayD<T>, MoeError> {
    check_tokens(x.shape(), routing)?;
    Ok(Reference::new().select_rows(x, Dispatch::new(routing).tokens())?)
}

pub(crate) fn combine<T: Scalar>(
    rows: &ArrayD<T>,
    routing: &Routing,
) -> Result<ArrayD<T>, MoeError> {
    check_rows(rows.shape(), routing)?;
    let dispatch = Dispatch::new(routing);
    let mut y = ArrayD::zeros(vec![routing.tokens(), rows.shape()[1]]);
    for (token, mut y) in y.outer_iter_mut().enumerate() {
        for &row in dispatch.rows_of_token(token) {
            let weight = T::from_f64(dispatch.weights()[row]);
            y.zip_mut_with(&rows.index_axis(ndarray::Axis(0), row), |y, &r| *y += weight * r);
        }
    }
    Ok(y)
}
