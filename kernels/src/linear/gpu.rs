//! [`linear`](crate::linear) on a device.
//!
//! One kernel serves one row and thousands: plans differ in the rows and outputs that 32 lanes work
//! on at once, never in the order of a sum, so every plan gives the same bits.

use cubecl::prelude::*;

use super::Problem;
use crate::columns::gpu::in_packets;
use crate::gpu::{Cubes, Gpu, GpuMatrix, GpuTensor, Layout, Quad};
use crate::{Cost, KernelError, Matrix, Tensor};

pub mod tile;

use tile::{LANES, Tile, fold_lanes, lane_sums};

/// The tile for `rows` rows: every weight that is read serves as many of them as registers allow.
///
/// ```
/// use latent_kernels::linear::gpu::plan;
/// assert_eq!((plan(1).rows, plan(512).rows), (1, 4));
/// ```
#[must_use]
pub fn plan(rows: usize) -> Tile {
    let rows = match rows {
        0 | 1 => 1,
        2 => 2,
        _ => 4,
    };
    Tile { rows, outputs: 4, groups: 4 }
}

/// What `rows` rows by `outputs` outputs cost, each output's weights stored in `row_bytes`.
#[must_use]
pub fn cost(tile: Tile, rows: usize, outputs: usize, inputs: usize, row_bytes: usize) -> Cost {
    let (x, w, y) = (4 * rows * inputs, outputs * row_bytes, 4 * rows * outputs);
    let (row_tiles, output_tiles) = (rows.div_ceil(tile.rows), outputs.div_ceil(tile.outputs));
    Cost {
        floor_bytes: (x + w + y) as u64,
        moved_bytes: (x * output_tiles + w * row_tiles + y) as u64,
        multiply_adds: (rows * outputs * inputs) as u64,
        ..Cost::default()
    }
}

pub(crate) fn linear(gpu: &Gpu, x: &GpuTensor, w: &GpuMatrix) -> Result<GpuTensor, KernelError> {
    let problem = Problem::new(x.shape(), [w.rows(), w.cols()])?;
    let (rows, outputs, inputs) = (problem.rows(), problem.out_features, problem.in_features);
    if inputs == 0 {
        return gpu.filled(0.0, &problem.y_shape());
    }
    let y = gpu.empty(&problem.y_shape())?;
    if rows * outputs == 0 {
        return Ok(y);
    }
    let x = in_packets(gpu, x, inputs)?;
    let (tile, layout) = (plan(rows), w.layout());
    for shard in w.shards() {
        let tiles = rows.div_ceil(tile.rows) * shard.rows.div_ceil(tile.outputs);
        let cubes = Cubes {
            cubes: tiles.div_ceil(tile.groups),
            units: tile.units(),
            shared_bytes: tile.shared_bytes(),
        };
        let cost = cost(tile, rows, shard.rows, inputs, w.row_bytes());
        gpu.launch("linear", cubes, cost, |client, count, dim| {
            linear_kernel::launch(
                client,
                count,
                dim,
                layout.packing.words(),
                x.arg4(),
                shard.arg(layout),
                w.scales_arg(),
                y.arg(),
                rows,
                w.packets(),
                shard.first,
                shard.rows,
                outputs,
                w.scales_across(),
                layout,
                tile,
            );
        })?;
    }
    Ok(y)
}

#[cube(launch)]
fn linear_kernel<W: Size>(
    x: &[Quad],               // [row, packet]
    words: &[Vector<u32, W>], // [output of the shard, packet]
    scales: &[f32],           // [block of rows, block of columns]
    y: &mut [f32],            // [row, output]
    rows: usize,
    packets: usize,
    first: usize,
    shard_rows: usize,
    outputs: usize,
    scales_across: usize,
    #[comptime] layout: Layout,
    #[comptime] tile: Tile,
) {
    let row_tiles = rows.div_ceil(tile.rows);
    let at = CUBE_POS * tile.groups + UNIT_POS as usize / LANES;
    // Neighbouring tiles share their weights: these are still near when the next rows come.
    let row0 = at % row_tiles * tile.rows;
    let output0 = at / row_tiles * tile.outputs;

    // Tiles reach over the edges: what is read there once more is not stored.
    let mut x_rows = Array::<usize>::new(tile.rows);
    #[unroll]
    for r in 0..tile.rows {
        x_rows[r] = usize::min(row0 + r, rows - 1) * packets;
    }
    let mut w_rows = Array::<usize>::new(tile.outputs);
    let mut scale_rows = Array::<usize>::new(tile.outputs);
    #[unroll]
    for o in 0..tile.outputs {
        let output = usize::min(output0 + o, shard_rows - 1);
        w_rows[o] = output * packets;
        scale_rows[o] = first + output;
    }
    let sums = lane_sums::<W>(
        x,
        &x_rows,
        words,
        &w_rows,
        scales,
        0,
        &scale_rows,
        scales_across,
        packets,
        layout,
        tile,
    );
    let sum = fold_lanes(&sums, tile);
    let lane = UNIT_POS as usize % LANES;
    let row = row0 + lane / tile.outputs;
    let output = output0 + lane % tile.outputs;
    if lane < comptime!(tile.sums()) && row < rows && output < shard_rows {
        y[row * outputs + first + output] = sum;
    }
}
