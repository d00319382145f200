//! [`linear`](crate::linear) on a device.
//!
//! Plans differ in the rows and outputs that are computed at once and in whether 32 units share a
//! sum, never in the order of a sum: for one row and for thousands, every plan gives the same bits.
//! So the fastest is taken, by trial where there is enough work.

use cubecl::prelude::*;

use super::Problem;
use crate::columns::gpu::in_packets;
use crate::gpu::{Cubes, Gpu, GpuMatrix, GpuTensor, Layout, Quad};
use crate::{Cost, KernelError, Matrix, Tensor};

pub mod tile;

use tile::{LANES, Tile, all_lanes, fold_lanes, lane_sums};

/// The least multiply-adds for which plans are tried.
const WORTH_TRYING: usize = 1 << 22;

/// The plans for `rows` rows, the usual one ([`plan`]) first.
///
/// A weight that is read serves all rows of a tile, and an input all outputs. A processor that
/// behaves like a GPU likes tiles that one unit computes: it pays for every load, and for every
/// element that units hand to each other.
///
/// ```
/// use latent_kernels::linear::gpu::plans;
/// assert_eq!((plans(1)[0].rows, plans(512)[0].rows), (1, 8));
/// ```
#[must_use]
pub const fn plans(rows: usize) -> &'static [Tile] {
    const fn by_lanes(rows: usize, outputs: usize) -> Tile {
        let groups = if rows * outputs < LANES { 4 } else { 2 };
        Tile { rows, outputs, groups, shared: true }
    }
    const fn by_units(rows: usize, outputs: usize) -> Tile {
        Tile { rows, outputs, groups: 64, shared: false }
    }
    match rows {
        0 | 1 => const { &[by_lanes(1, 4), by_lanes(1, 2), by_lanes(1, 1), by_units(1, 8)] },
        2 | 3 => const { &[by_lanes(2, 4), by_units(2, 8)] },
        4..8 => const { &[by_lanes(4, 4), by_units(4, 8)] },
        _ => const { &[by_lanes(8, 4), by_lanes(8, 8), by_units(8, 8), by_units(16, 8)] },
    }
}

/// The usual plan for `rows` rows: 32 units share a tile of at most 32 sums.
///
/// ```
/// use latent_kernels::linear::gpu::plan;
/// assert_eq!((plan(1).rows, plan(5).rows, plan(512).sums()), (1, 4, 32));
/// ```
#[must_use]
pub const fn plan(rows: usize) -> Tile {
    plans(rows)[0]
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
    let plans = plans(problem.rows());
    if problem.rows() * w.rows() * w.cols() < WORTH_TRYING {
        return linear_by(gpu, x, w, plan(problem.rows()));
    }
    let Layout { packing, block } = w.layout();
    let rows = problem.rows().next_power_of_two();
    let key = [rows, w.rows(), w.cols(), packing.words(), block.map_or(0, |(_, width)| width)];
    let run = |tile| linear_by(gpu, x, w, tile).map(drop);
    linear_by(gpu, x, w, gpu.fastest("linear", &key, plans, run)?)
}

/// [`linear`](crate::linear) by one plan.
///
/// # Errors
/// [`KernelError::Shape`] when `x` and `w` do not fit together, [`KernelError::DeviceLimit`] when the
/// device does not allow the plan.
pub fn linear_by(
    gpu: &Gpu,
    x: &GpuTensor,
    w: &GpuMatrix,
    tile: Tile,
) -> Result<GpuTensor, KernelError> {
    let problem = Problem::new(x.shape(), [w.rows(), w.cols()])?;
    if problem.in_features == 0 {
        return gpu.filled(0.0, &problem.y_shape());
    }
    let y = gpu.empty(&problem.y_shape())?;
    if y.elements() > 0 {
        let x = in_packets(gpu, x, problem.in_features)?;
        product(gpu, &x, w, &y, problem.rows(), tile)?;
    }
    Ok(y)
}

/// One launch for each shard of `w`.
fn product(
    gpu: &Gpu,
    x: &GpuTensor,
    w: &GpuMatrix,
    y: &GpuTensor,
    rows: usize,
    tile: Tile,
) -> Result<(), KernelError> {
    let layout = w.layout();
    for shard in w.shards() {
        let tiles = rows.div_ceil(tile.rows) * shard.rows.div_ceil(tile.outputs);
        let cubes = Cubes {
            cubes: tiles.div_ceil(tile.groups),
            units: tile.units(),
            shared_bytes: tile.shared_bytes(),
        };
        let cost = cost(tile, rows, shard.rows, w.cols(), w.row_bytes());
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
                w.rows(),
                w.scales_across(),
                layout,
                tile,
            );
        })?;
    }
    Ok(())
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
    let unit = UNIT_POS as usize;
    let lanes = comptime!(tile.units() / tile.groups);
    let row_tiles = rows.div_ceil(tile.rows);
    let at = CUBE_POS * tile.groups + unit / lanes;
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
    if comptime!(tile.shared) {
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
            unit % LANES,
            layout,
            tile,
        );
        let folded = fold_lanes(&sums, tile);
        #[unroll]
        for fold in 0..tile.folds() {
            let i = fold * LANES + unit % LANES;
            let row = row0 + i / tile.outputs;
            let output = output0 + i % tile.outputs;
            if i < comptime!(tile.sums()) && row < rows && output < shard_rows {
                y[row * outputs + first + output] = folded[fold];
            }
        }
    } else {
        let sums = all_lanes::<W>(
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
        #[unroll]
        for r in 0..tile.rows {
            #[unroll]
            for o in 0..tile.outputs {
                if row0 + r < rows && output0 + o < shard_rows {
                    y[(row0 + r) * outputs + first + output0 + o] =
                        sums[comptime!(r * tile.outputs + o)];
                }
            }
        }
    }
}
