//! Products with some rows of each head's part of a weight.

use cubecl::prelude::*;
use latent_kernels::gpu::{Cubes, Gpu, GpuMatrix, GpuTensor, Layout, Quad};
use latent_kernels::linear::gpu::tile::{LANES, Tile, fold_lanes, lane_sums};
use latent_kernels::linear::gpu::{cost, plan};
use latent_kernels::{KernelError, Matrix};

/// Where the rows of a weight that belong to each head lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadRows {
    /// The row of the first head that is the first to be taken.
    pub(super) first: usize,
    /// The rows from one head to the next.
    pub(super) stride: usize,
    /// The rows of a head that are taken.
    pub(super) taken: usize,
}

/// Steps from token to token and from head to head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// The elements before the first.
    pub(super) first: usize,
    /// From one token to the next.
    pub(super) token: usize,
    /// From one head to the next.
    pub(super) head: usize,
}

/// `y[token, head, i] = w[row i of the head] · x[token, head]`, each sum in the order of `linear`.
///
/// `x` is in whole packets of four, and so are its steps.
pub(super) fn project(
    gpu: &Gpu,
    [tokens, heads]: [usize; 2],
    (x, x_steps): (&GpuTensor, Steps),
    (w, rows): (&GpuMatrix, HeadRows),
    (y, y_steps): (&GpuTensor, Steps),
) -> Result<(), KernelError> {
    let (tile, layout) = (plan(tokens), w.layout());
    let packets = |steps: Steps| (steps.first / 4, steps.token / 4, steps.head / 4);
    let (x_first, x_token, x_head) = packets(x_steps);
    for shard in w.shards() {
        let tiles = tokens.div_ceil(tile.rows) * rows.taken.div_ceil(tile.outputs) * heads;
        let cubes = Cubes {
            cubes: tiles.div_ceil(tile.groups),
            units: tile.units(),
            shared_bytes: tile.shared_bytes(),
        };
        let cost = cost(tile, tokens, heads * rows.taken, w.cols(), w.row_bytes());
        gpu.launch("project", cubes, cost, |client, count, cube| {
            project_kernel::launch(
                client,
                count,
                cube,
                layout.packing.words(),
                x.arg4(),
                shard.arg(layout),
                w.scales_arg(),
                y.arg(),
                tokens,
                heads,
                w.packets(),
                shard.first,
                shard.rows,
                rows.first,
                rows.stride,
                rows.taken,
                x_first,
                x_token,
                x_head,
                y_steps.first,
                y_steps.token,
                y_steps.head,
                w.scales_across(),
                layout,
                tile,
            );
        })?;
    }
    Ok(())
}

#[cube(launch)]
fn project_kernel<W: Size>(
    x: &[Quad],
    words: &[Vector<u32, W>], // [row of the shard, packet]
    scales: &[f32],
    y: &mut [f32],
    tokens: usize,
    heads: usize,
    packets: usize,
    shard_first: usize,
    shard_rows: usize,
    first: usize,
    stride: usize,
    taken: usize,
    x_first: usize,
    x_token: usize,
    x_head: usize,
    y_first: usize,
    y_token: usize,
    y_head: usize,
    scales_across: usize,
    #[comptime] layout: Layout,
    #[comptime] tile: Tile,
) {
    let token_tiles = tokens.div_ceil(tile.rows);
    let output_tiles = taken.div_ceil(tile.outputs);
    let at = CUBE_POS * tile.groups + UNIT_POS as usize / LANES;
    // Neighbouring tiles share their weights: these are still near when the next tokens come.
    let token0 = at % token_tiles * tile.rows;
    let output0 = at / token_tiles % output_tiles * tile.outputs;
    let head = at / token_tiles / output_tiles;
    let near = usize::min(head, heads - 1);

    // Tiles reach over the edges: what is read there once more is not stored.
    let mut x_rows = Array::<usize>::new(tile.rows);
    #[unroll]
    for r in 0..tile.rows {
        x_rows[r] = x_first + usize::min(token0 + r, tokens - 1) * x_token + near * x_head;
    }
    let mut w_rows = Array::<usize>::new(tile.outputs);
    let mut scale_rows = Array::<usize>::new(tile.outputs);
    #[unroll]
    for o in 0..tile.outputs {
        let row = first + near * stride + usize::min(output0 + o, taken - 1);
        let within = usize::max(row, shard_first) - shard_first;
        w_rows[o] = usize::min(within, shard_rows - 1) * packets;
        scale_rows[o] = row;
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
        UNIT_POS as usize % LANES,
        layout,
        tile,
    );
    // A tile has no more sums than lanes.
    let folded = fold_lanes(&sums, tile);
    let sum = folded[0];
    let lane = UNIT_POS as usize % LANES;
    let token = token0 + lane / tile.outputs;
    let output = output0 + lane % tile.outputs;
    let row = first + head * stride + output;
    let here = row >= shard_first && row < shard_first + shard_rows;
    if lane < comptime!(tile.sums()) && head < heads && token < tokens && output < taken && here {
        y[y_first + token * y_token + head * y_head + output] = sum;
    }
}
