//! The definition of [`gather`](crate::gather).

use ndarray::ArrayD;

use crate::reference::from_vec;
use crate::{KernelError, Scalar, Weight};

pub(crate) fn gather<T: Scalar>(w: &Weight, ids: &[u32]) -> Result<ArrayD<T>, KernelError> {
    super::check(w.rows(), ids)?;
    let mut y = vec![T::zero(); ids.len() * w.cols()];
    for (y, &id) in y.chunks_mut(w.cols().max(1)).zip(ids) {
        w.decode_row(id as usize, y);
    }
    from_vec(y, &[ids.len(), w.cols()])
}
