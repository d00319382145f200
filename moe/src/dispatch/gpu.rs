//! [`dispatch`](crate::dispatch) on a device: a unit moves or sums one element.

use cubecl::prelude::*;
use latent_kernels::gpu::{Cubes, Gpu, GpuTensor};
use latent_kernels::{Cost, Tensor};

use super::want_rows;
use crate::MoeError;
use crate::gpu::GpuRouting;

pub(crate) mod sort;

/// The units of a cube.
const UNITS: usize = 256;

pub(crate) fn dispatch(
    gpu: &Gpu,
    x: &GpuTensor,
    routing: &GpuRouting,
) -> Result<GpuTensor, MoeError> {
    want_rows("dispatch: x", x.shape(), routing.tokens())?;
    let (rows, dim) = (routing.choices(), x.shape()[1]);
    let y = gpu.empty(&[rows, dim])?;
    let cost = Cost {
        floor_bytes: (4 * (x.elements() + y.elements() + rows)) as u64,
        moved_bytes: (4 * 3 * y.elements()) as u64,
        ..Cost::default()
    };
    gpu.launch("dispatch", Cubes::covering(y.elements(), UNITS), cost, |client, count, cube| {
        let (x, choices, y) = (x.arg(), routing.order.choices.arg(4), y.arg());
        let k = routing.num_experts_per_tok;
        dispatch_kernel::launch(client, count, cube, x, choices, y, rows, dim, k);
    })?;
    Ok(y)
}

pub(crate) fn combine(
    gpu: &Gpu,
    rows: &GpuTensor,
    routing: &GpuRouting,
) -> Result<GpuTensor, MoeError> {
    want_rows("combine: rows", rows.shape(), routing.choices())?;
    let (tokens, dim) = (routing.tokens(), rows.shape()[1]);
    let y = gpu.empty(&[tokens, dim])?;
    let cost = Cost {
        floor_bytes: (4 * (rows.elements() + y.elements() + 2 * routing.choices())) as u64,
        moved_bytes: (4 * (3 * rows.elements() + y.elements())) as u64,
        multiply_adds: rows.elements() as u64,
        ..Cost::default()
    };
    gpu.launch(
        "combine_experts",
        Cubes::covering(y.elements(), UNITS),
        cost,
        |client, count, cube| {
            let (rows, of_choices) = (rows.arg(), routing.order.rows.arg(4));
            let (weights, y, k) = (routing.weights.arg(), y.arg(), routing.num_experts_per_tok);
            combine_kernel::launch(
                client, count, cube, rows, of_choices, weights, y, tokens, dim, k,
            );
        },
    )?;
    Ok(y)
}

#[cube(launch)]
fn dispatch_kernel(
    x: &[f32],       // [token, dim]
    choices: &[u32], // [row]
    y: &mut [f32],   // [row, dim]
    rows: usize,
    dim: usize,
    k: usize,
) {
    let row = ABSOLUTE_POS / dim;
    if row < rows {
        let token = choices[row] as usize / k;
        y[ABSOLUTE_POS] = x[token * dim + ABSOLUTE_POS % dim];
    }
}

#[cube(launch)]
fn combine_kernel(
    rows: &[f32],            // [row, dim]
    rows_of_choices: &[u32], // [token, k]
    weights: &[f32],         // [token, k]
    y: &mut [f32],           // [token, dim]
    tokens: usize,
    dim: usize,
    k: usize,
) {
    let token = ABSOLUTE_POS / dim;
    if token < tokens {
        // Choices ascend by expert: no other order of the sum is possible.
        let mut sum = f32::new(0.0);
        for choice in token * k..(token + 1) * k {
            let row = rows_of_choices[choice] as usize;
            sum = fma(weights[choice], rows[row * dim + ABSOLUTE_POS % dim], sum);
        }
        y[ABSOLUTE_POS] = sum;
    }
}
