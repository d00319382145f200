//! The gradients of the norm on this processor: rows are shared by the threads.
//!
//! Sums over a row are those of the [norm](crate::rms_norm::cpu): sixteen lanes, then halves. What the gain gets
//! is summed over 64 rows in their order, then over those sums.

#![expect(unsafe_code, reason = "vector instructions; each block says why it is sound")]

use ndarray::ArrayD;

use super::check_backward;
use crate::cpu::{Cpu, Kernel, LANES, Parts, Rows, Simd};
use crate::reference::{from_vec, rows};
use crate::{KernelError, Scalar};

/// The rows of a task.
const STEP: usize = 64;

pub(crate) fn rms_norm_backward(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    gain: &ArrayD<f32>,
    eps: f64,
    dy: &ArrayD<f32>,
) -> Result<(ArrayD<f32>, ArrayD<f32>), KernelError> {
    check_backward(x.shape(), gain.shape(), eps, dy.shape())?;
    let (dim, eps) = (gain.len(), f32::from_f64(eps));
    let count = x.len().checked_div(dim).unwrap_or(0);
    let tasks = count.div_ceil(STEP);
    let (mut dx, mut d_gains) = (vec![0.0; x.len()], Rows::zeros(tasks, dim));
    let gain_row = Rows::pack(dim, [rows(gain)].into_iter());
    let (parts, (of_gains, stride)) = (Parts::new(&mut dx), d_gains.parts());
    let (x_rows, dy_rows) = (rows(x), rows(dy));
    cpu.pool().run(tasks, &|task| {
        let at = task * STEP * dim..x_rows.len().min((task + 1) * STEP * dim);
        // SAFETY: a task has its rows and its sums.
        let (dx, d_gain) =
            unsafe { (parts.part(at.clone()), of_gains.part(task * stride..(task + 1) * stride)) };
        let (x, dy) = (&x_rows[at.clone()], &dy_rows[at]);
        cpu.isa().run(Back { x, dy, gain: gain_row.row(0), dim, eps, dx, d_gain });
    });
    let mut d_gain = vec![0.0; dim];
    for task in 0..tasks {
        d_gain.iter_mut().zip(d_gains.row(task)).for_each(|(sum, part)| *sum += part);
    }
    Ok((from_vec(dx, x.shape())?, from_vec(d_gain, &[dim])?))
}

/// Some rows.
struct Back<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    /// Filled up with zeros to whole vectors, as `d_gain` is.
    gain: &'a [f32],
    dim: usize,
    eps: f32,
    dx: &'a mut [f32],
    d_gain: &'a mut [f32],
}

impl Kernel for Back<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Back { x, dy, gain, dim, eps, dx, d_gain } = self;
        let (whole, rest) = (dim / LANES, dim % LANES);
        for first in (0..x.len()).step_by(dim) {
            // The last vectors of a row, zeros behind its elements.
            let mut last = [[0.0_f32; LANES]; 2];
            last[0][..rest].copy_from_slice(&x[first + whole * LANES..first + dim]);
            last[1][..rest].copy_from_slice(&dy[first + whole * LANES..first + dim]);
            let (x, dy) = (x[first..].as_ptr(), dy[first..].as_ptr());
            // SAFETY: by the contract of the trait; rows have as many whole vectors, `gain` and `d_gain` one more
            // where elements are left, and the last are vectors.
            unsafe {
                let (mut squares, mut along) = (S::splat(0.0), S::splat(0.0));
                for v in 0..whole + usize::from(rest > 0) {
                    let (x, dy) = pair::<S>(x, dy, &last, v, whole);
                    squares = S::fma(x, x, squares);
                    along = S::fma(S::mul(S::load(gain.as_ptr().add(v * LANES)), dy), x, along);
                }
                let mean = S::sum(squares) / dim as f32;
                let scale = (mean + eps).sqrt().recip();
                let along = S::splat(scale * scale * S::sum(along) / dim as f32);
                let scale = S::splat(scale);
                for v in 0..whole + usize::from(rest > 0) {
                    let (x, dy) = pair::<S>(x, dy, &last, v, whole);
                    let g = S::load(gain.as_ptr().add(v * LANES));
                    let d = S::mul(scale, S::sub(S::mul(g, dy), S::mul(x, along)));
                    let sum = d_gain.as_mut_ptr().add(v * LANES);
                    S::store(sum, S::fma(dy, S::mul(x, scale), S::load(sum)));
                    if v < whole {
                        S::store(dx[first + v * LANES..].as_mut_ptr(), d);
                    } else {
                        S::store(last[0].as_mut_ptr(), d);
                    }
                }
            }
            dx[first + whole * LANES..first + dim].copy_from_slice(&last[0][..rest]);
        }
    }
}

/// Vector `v` of a row of `x` and of `dy`, whose last ones lie apart.
#[inline(always)]
unsafe fn pair<S: Simd>(
    x: *const f32,
    dy: *const f32,
    last: &[[f32; LANES]; 2],
    v: usize,
    whole: usize,
) -> (S::V, S::V) {
    // SAFETY: by what the caller proved.
    unsafe {
        if v < whole {
            (S::load(x.add(v * LANES)), S::load(dy.add(v * LANES)))
        } else {
            (S::load(last[0].as_ptr()), S::load(last[1].as_ptr()))
        }
    }
}
