//! [`softmax`](crate::softmax) on a device: a cube does a row.

use cubecl::prelude::*;

use crate::gpu::{Cubes, Gpu, GpuTensor, cube_max, cube_sum, rows_of};
use crate::{Cost, KernelError, Tensor};

/// The units that share a row; a power of two.
const UNITS: usize = 128;

pub(crate) fn softmax(gpu: &Gpu, x: &GpuTensor) -> Result<GpuTensor, KernelError> {
    super::check(x.shape())?;
    let y = gpu.empty(x.shape())?;
    let (rows, dim) = rows_of(x);
    let cubes = Cubes { cubes: rows, units: UNITS, shared_bytes: 3 * 4 * UNITS };
    let cost = Cost::streaming(8 * x.elements());
    gpu.launch("softmax", cubes, cost, |client, count, cube| {
        softmax_kernel::launch(client, count, cube, x.arg(), y.arg(), rows, dim, f32::NAN);
    })?;
    Ok(y)
}

#[cube(launch)]
fn softmax_kernel(x: &[f32], y: &mut [f32], rows: usize, dim: usize, nan: f32) {
    // Cubes behind the last row do that row once more.
    let row = usize::min(CUBE_POS, rows - 1) * dim;
    let unit = UNIT_POS as usize;
    let mut max = f32::min_value();
    // What makes the whole row NaN is counted, since comparisons do not see it.
    let mut bad = f32::new(0.0);
    let mut i = unit;
    while i < dim {
        let value = x[row + i];
        let infinite = value.is_inf() && value > 0.0;
        bad += select(value.is_nan() || infinite, 1.0, f32::new(0.0));
        max = select(value > max, value, max);
        i += UNITS;
    }
    let max = cube_max(max, UNITS);
    let bad = cube_sum(bad, UNITS);
    let mut sum = f32::new(0.0);
    let mut i = unit;
    while i < dim {
        sum += share(x[row + i], max);
        i += UNITS;
    }
    let sum = cube_sum(sum, UNITS);
    // No share: the row is all -∞ and gives zeros.
    let divisor = select(sum > 0.0, sum, f32::new(1.0));
    let mut i = unit;
    while i < dim {
        let value = share(x[row + i], max) / divisor;
        y[row + i] = select(bad > 0.0, nan, value);
        i += UNITS;
    }
}

/// `exp(value - max)`, and 0 for -∞.
#[cube]
fn share(value: f32, max: f32) -> f32 {
    let none = value.is_inf() && value < 0.0;
    select(none, f32::new(0.0), f32::exp(select(none, max, value) - max))
}
