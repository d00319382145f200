//! [`argmax`](crate::argmax) on a device: a cube looks through a row, and only indices come back.

#![expect(clippy::cast_possible_truncation, reason = "kernels count in 32 bits")]
#![expect(clippy::float_cmp, reason = "a tie is between equal values")]

use cubecl::prelude::*;

use crate::gpu::{Cubes, Gpu, GpuTensor, rows_of};
use crate::{Cost, KernelError, Tensor};

/// The units that share a row; a power of two.
const UNITS: usize = 256;

/// The index of a row that has no largest element.
const NONE: u32 = u32::MAX;

pub(crate) fn argmax(gpu: &Gpu, x: &GpuTensor) -> Result<Vec<Option<u32>>, KernelError> {
    super::check(x.shape())?;
    let (rows, dim) = rows_of(x);
    if rows * dim == 0 {
        let leading = &x.shape()[..x.shape().len() - 1];
        return Ok(vec![None; leading.iter().product()]);
    }
    let best = gpu.buffer(4 * rows)?;
    let cubes = Cubes { cubes: rows, units: UNITS, shared_bytes: 3 * 4 * UNITS };
    let cost = Cost::streaming(4 * x.elements() + 4 * rows);
    gpu.launch("argmax", cubes, cost, |client, count, cube| {
        argmax_kernel::launch(client, count, cube, x.arg(), best.arg(4), rows, dim);
    })?;
    Ok(gpu.read_words(&best)?.into_iter().map(|i| (i != NONE).then_some(i)).collect())
}

#[cube(launch)]
fn argmax_kernel(x: &[f32], best: &mut [u32], rows: usize, dim: usize) {
    // Cubes behind the last row do that row once more.
    let row = usize::min(CUBE_POS, rows - 1);
    let unit = UNIT_POS as usize;
    let mut values = Shared::<[f32]>::new_slice(UNITS);
    let mut indices = Shared::<[u32]>::new_slice(UNITS);
    let mut spoilt = Shared::<[u32]>::new_slice(UNITS);
    let mut value = f32::min_value();
    let mut index = NONE.runtime();
    let mut bad = false;
    let mut i = unit;
    while i < dim {
        let v = x[row * dim + i];
        bad = bad || v.is_nan() || (v.is_inf() && v > 0.0);
        // The lowest finite value is above -∞ and may be the largest of a row.
        let better = !v.is_inf() && (v > value || index == NONE);
        index = select(better, i as u32, index);
        value = select(better, v, value);
        i += UNITS;
    }
    values[unit] = value;
    indices[unit] = index;
    spoilt[unit] = u32::cast_from(bad);
    sync_cube();
    if unit == 0 {
        for other in 1..UNITS {
            let candidate = indices[other];
            let v = values[other];
            let better = candidate != NONE
                && (index == NONE || v > value || (v == value && candidate < index));
            index = select(better, candidate, index);
            value = select(better, v, value);
            bad = bad || spoilt[other] != 0;
        }
        best[row] = select(bad, NONE, index);
    }
}
