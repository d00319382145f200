//! The definition of [`gather`](crate::gather).

use ndarray::ArrayD;

use crate::reference::from_vec;
use crate::{KernelError, Scalar, Weight};

pub(crate) fn gather<T: Scalar>(w: &Weight, ids: &[u32]) -> Result<ArrayD<T>, KernelError> {
    rows([w.rows(), w.cols()], ids, |row, to| w.decode_row(row, to))
}

/// The rows named by `ids` of a matrix whose row `decode` writes.
pub(crate) fn rows<T: Scalar>(
    [vocab, dim]: [usize; 2],
    ids: &[u32],
    decode: impl Fn(usize, &mut [T]),
) -> Result<ArrayD<T>, KernelError> {
    super::check(vocab, ids)?;
    let mut y = vec![T::zero(); ids.len() * dim];
    for (y, &id) in y.chunks_mut(dim.max(1)).zip(ids) {
        decode(id as usize, y);
    }
    from_vec(y, &[ids.len(), dim])
}
