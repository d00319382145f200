//! [`rms_norm`](crate::rms_norm) on a device: a cube normalises a row.

use cubecl::prelude::*;

use crate::gpu::{Cubes, Gpu, GpuTensor, cube_sum};
use crate::{Cost, KernelError, Scalar, Tensor};

/// The units that share a row; a power of two.
const UNITS: usize = 128;

pub(crate) fn rms_norm(
    gpu: &Gpu,
    x: &GpuTensor,
    gain: &GpuTensor,
    eps: f64,
) -> Result<GpuTensor, KernelError> {
    super::check(x.shape(), gain.shape(), eps)?;
    let y = gpu.empty(x.shape())?;
    let dim = gain.elements();
    let rows = x.elements().checked_div(dim).unwrap_or(0);
    let cubes = Cubes { cubes: rows, units: UNITS, shared_bytes: 4 * UNITS };
    let cost = Cost::streaming(8 * x.elements() + 4 * dim);
    gpu.launch("rms_norm", cubes, cost, |client, count, cube| {
        let eps = <f32 as Scalar>::from_f64(eps);
        let (x, gain, y) = (x.arg(), gain.arg(), y.arg());
        rms_norm_kernel::launch(client, count, cube, x, gain, y, rows, dim, eps);
    })?;
    Ok(y)
}

#[cube(launch)]
fn rms_norm_kernel(x: &[f32], gain: &[f32], y: &mut [f32], rows: usize, dim: usize, eps: f32) {
    // Cubes behind the last row do that row once more.
    let row = usize::min(CUBE_POS, rows - 1) * dim;
    let unit = UNIT_POS as usize;
    let mut squares = f32::new(0.0);
    let mut i = unit;
    while i < dim {
        squares = fma(x[row + i], x[row + i], squares);
        i += UNITS;
    }
    let mean = cube_sum(squares, UNITS) / f32::cast_from(dim);
    let scale = 1.0 / f32::sqrt(mean + eps);
    let mut i = unit;
    while i < dim {
        y[row + i] = gain[i] * (x[row + i] * scale);
        i += UNITS;
    }
}
