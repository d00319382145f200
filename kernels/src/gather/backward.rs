//! The gradient of an embedding: each row gets the sum of what its uses got.
//!
//! # Shapes
//! - `ids`: `[token]`, each below `vocab`
//! - `dy`: `[token, dim]`
//! - returns `[vocab, dim]`; uses of a row are added in their order, and a row without any is 0

use ndarray::ArrayD;

use crate::linear::add_scaled;
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar};

/// Proves the arguments of the gradient and returns the width of a row.
///
/// # Errors
/// Those of [`check`](super::check), and [`KernelError::Shape`] when `dy` does not have a row for
/// each id, or the result would have more elements than a `usize` counts.
pub fn check_backward(vocab: usize, ids: &[u32], dy: &[usize]) -> Result<usize, KernelError> {
    super::check(vocab, ids)?;
    match *dy {
        [tokens, dim] if tokens == ids.len() && vocab.checked_mul(dim).is_some() => Ok(dim),
        _ => Err(KernelError::shape("gather: dy", dy, format!("want [{}, dim]", ids.len()))),
    }
}

pub(crate) fn gather_backward<T: Scalar>(
    vocab: usize,
    ids: &[u32],
    dy: &ArrayD<T>,
) -> Result<ArrayD<T>, KernelError> {
    let dim = check_backward(vocab, ids, dy.shape())?;
    let mut dw = vec![T::zero(); vocab * dim];
    for (&id, dy) in ids.iter().zip(rows(dy).chunks_exact(dim.max(1))) {
        add_scaled(&mut dw[id as usize * dim..][..dim], T::one(), dy);
    }
    from_vec(dw, &[vocab, dim])
}
