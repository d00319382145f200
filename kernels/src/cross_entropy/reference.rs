//! The definition of [`cross_entropy`](crate::cross_entropy).

use ndarray::ArrayD;
use rayon::prelude::*;

use crate::reference::{from_vec, rows};
use crate::softmax::softmax_in_place;
use crate::{KernelError, Scalar};

pub(crate) fn cross_entropy<T: Scalar>(
    logits: &ArrayD<T>,
    targets: &[u32],
    scales: &[f64],
) -> Result<(Vec<f64>, ArrayD<T>), KernelError> {
    let vocab = super::check(logits.shape(), targets, scales)?.max(1);
    let mut gradient = rows(logits).to_vec();
    let losses = gradient
        .par_chunks_exact_mut(vocab)
        .zip(targets.par_iter().zip(scales))
        .map(|(row, (&target, &scale))| {
            let loss = loss(row, target as usize);
            softmax_in_place(row);
            row[target as usize] -= T::one();
            row.iter_mut().for_each(|g| *g *= T::from_f64(scale));
            loss
        })
        .collect();
    Ok((losses, from_vec(gradient, logits.shape())?))
}

fn loss<T: Scalar>(row: &[T], target: usize) -> f64 {
    let max = row.iter().fold(T::neg_infinity(), |m, &x| m.max(x));
    let sum = row.iter().fold(T::zero(), |sum, &x| sum + (x - max).exp());
    ((max - row[target]) + sum.ln()).as_f64()
}
