//! [`draw`](crate::draw) on a device: a cube draws from a row, and only indices come back.

#![expect(clippy::cast_possible_truncation, reason = "kernels count in 32 bits")]

use cubecl::prelude::*;

use crate::gpu::{Cubes, Gpu, GpuTensor, cube_max, cube_sum, rows_of};
use crate::{Cost, KernelError, Scalar, Tensor};

/// The units that share a row, each a stretch of it; a power of two.
const UNITS: usize = 256;

/// The index of a row that nothing can be drawn from.
const NONE: u32 = u32::MAX;

/// The least temperature in `f32`: lower ones would be 0.
const COLDEST: f32 = 1e-30;

pub(crate) fn draw(
    gpu: &Gpu,
    x: &GpuTensor,
    temperature: f64,
    draws: &[f64],
) -> Result<Vec<Option<u32>>, KernelError> {
    super::check(x.shape(), temperature, draws)?;
    let (rows, dim) = rows_of(x);
    if rows * dim == 0 {
        return Ok(vec![None; draws.len()]);
    }
    let draws: Vec<f32> = draws.iter().map(|&u| Scalar::from_f64(u)).collect();
    let draws = gpu.upload_bytes(draws.iter().flat_map(|u| u.to_le_bytes()).collect())?;
    let drawn = gpu.buffer(4 * rows)?;
    let cubes = Cubes { cubes: rows, units: UNITS, shared_bytes: 4 * 4 * UNITS };
    let cost = Cost::streaming(4 * x.elements() + 8 * rows);
    gpu.launch("draw", cubes, cost, |client, count, cube| {
        let temperature = <f32 as Scalar>::from_f64(temperature).max(COLDEST);
        let (x, draws, drawn) = (x.arg(), draws.arg(4), drawn.arg(4));
        draw_kernel::launch(client, count, cube, x, draws, drawn, rows, dim, temperature);
    })?;
    Ok(gpu.read_words(&drawn)?.into_iter().map(|i| (i != NONE).then_some(i)).collect())
}

#[cube(launch)]
fn draw_kernel(
    x: &[f32],
    draws: &[f32],
    drawn: &mut [u32],
    rows: usize,
    dim: usize,
    temperature: f32,
) {
    // Cubes behind the last row do that row once more.
    let row = usize::min(CUBE_POS, rows - 1);
    let unit = UNIT_POS as usize;
    let stretch = dim.div_ceil(UNITS);
    let first = usize::min(unit * stretch, dim);
    let end = usize::min(first + stretch, dim);

    let mut max = f32::min_value();
    // What nothing can be drawn from is counted, since comparisons do not see it.
    let mut bad = f32::new(0.0);
    let mut finite = f32::new(0.0);
    for i in first..end {
        let value = x[row * dim + i];
        let infinite = value.is_inf() && value > 0.0;
        bad += select(value.is_nan() || infinite, f32::new(1.0), f32::new(0.0));
        finite += select(value.is_inf(), f32::new(0.0), f32::new(1.0));
        max = select(value > max, value, max);
    }
    let max = cube_max(max, UNITS);
    let bad = cube_sum(bad, UNITS);
    let finite = cube_sum(finite, UNITS);

    let mut sums = Shared::<[f32]>::new_slice(UNITS);
    let mut sum = f32::new(0.0);
    for i in first..end {
        sum += weight(x[row * dim + i], max, temperature);
    }
    sums[unit] = sum;
    sync_cube();
    if unit == 0 {
        let mut total = f32::new(0.0);
        for u in 0..UNITS {
            total += sums[u];
        }
        let target = draws[row] * total;
        // The first stretch whose sum goes beyond the target, else the last with a weight.
        let mut before = f32::new(0.0);
        let mut chosen = 0usize.runtime();
        let mut start = f32::new(0.0);
        let mut found = false;
        for u in 0..UNITS {
            if !found && sums[u] > 0.0 {
                chosen = u;
                start = before;
            }
            before += sums[u];
            found = found || before > target;
        }
        let mut running = start;
        let mut index = NONE.runtime();
        let mut done = false;
        for i in chosen * stretch..usize::min((chosen + 1) * stretch, dim) {
            let w = weight(x[row * dim + i], max, temperature);
            if !done && w > 0.0 {
                index = i as u32;
            }
            running += w;
            done = done || running > target;
        }
        drawn[row] = select(bad > 0.0 || finite == 0.0, NONE, index);
    }
}

/// `exp((value - max) / temperature)`, and 0 for -∞.
#[cube]
fn weight(value: f32, max: f32, temperature: f32) -> f32 {
    let none = value.is_inf() && value < 0.0;
    let scaled = (select(none, max, value) - max) / temperature;
    select(none, f32::new(0.0), f32::exp(scaled))
}
