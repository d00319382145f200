//! The definition of [`draw`](crate::draw).

use ndarray::ArrayD;

use crate::argmax;
use crate::reference::rows;
use crate::{KernelError, Scalar};

pub(crate) fn draw<T: Scalar>(
    x: &ArrayD<T>,
    temperature: f64,
    draws: &[f64],
) -> Result<Vec<Option<u32>>, KernelError> {
    super::check(x.shape(), temperature, draws)?;
    let best = argmax::reference::argmax(x)?;
    let width = x.shape().last().copied().unwrap_or(0);
    let of_row = |(row, (best, &u)): (usize, (Option<u32>, &f64))| {
        let row = &rows(x)[row * width..][..width];
        best.map(|best| drawn(row, row[best as usize].as_f64(), temperature, u).unwrap_or(best))
    };
    Ok(best.into_iter().zip(draws).enumerate().map(of_row).collect())
}

fn drawn<T: Scalar>(row: &[T], max: f64, temperature: f64, u: f64) -> Option<u32> {
    let weights: Vec<f64> = row.iter().map(|x| ((x.as_f64() - max) / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let (mut sum, mut last) = (0.0, None);
    for (i, w) in (0..).zip(weights) {
        let share = w / total;
        if share > 0.0 {
            sum += share;
            last = Some(i);
            if sum > u {
                break;
            }
        }
    }
    last
}
