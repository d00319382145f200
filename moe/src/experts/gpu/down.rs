//! The second product of an expert.

use cubecl::prelude::*;
use latent_kernels::gpu::{Gpu, GpuMatrix, GpuTensor, Layout, Quad};
use latent_kernels::linear::gpu::tile::Tile;
use latent_kernels::{KernelError, Matrix};

use super::product::{Rows, experts_of, first_output, output_of_lane, product, row_of_lane};
use super::tiles::{EXPERT, ROW, ROWS, find_place};

/// `down_proj x` of each row: `[row, hidden]`. `x` `[row, inner]` lies in packets.
pub(super) fn down(
    gpu: &Gpu,
    down_proj: &GpuMatrix,
    x: &GpuTensor,
    rows: Rows<'_>,
) -> Result<GpuTensor, KernelError> {
    let (hidden, plan) = (down_proj.rows(), rows.plan);
    let y = gpu.empty(&[rows.choices, hidden])?;
    let mut cost = rows.cost(rows.choices, &[down_proj]);
    for shard in down_proj.shards() {
        let experts = experts_of(shard, down_proj);
        let cost = std::mem::take(&mut cost);
        gpu.launch("experts_down", plan.cubes(hidden, 1), cost, |client, count, dim| {
            down_kernel::launch(
                client,
                count,
                dim,
                down_proj.layout().packing.words(),
                x.arg4(),
                rows.tiles.arg(4),
                shard.arg(down_proj.layout()),
                down_proj.scales_arg(),
                shard.first,
                down_proj.scales_per_weight(),
                down_proj.scales_across(),
                y.arg(),
                experts.start,
                experts.end,
                hidden,
                down_proj.packets(),
                plan.blocks(hidden),
                down_proj.layout(),
                plan.tile,
            );
        })?;
    }
    Ok(y)
}

#[cube(launch)]
fn down_kernel<W: Size>(
    x: &[Quad],    // [row, packet]
    tiles: &[u32], // see `find_place`
    words: &[Vector<u32, W>],
    scales: &[f32],
    first: usize,
    per_weight: usize,
    across: usize,
    y: &mut [f32], // [row, hidden]
    from: usize,
    to: usize,
    hidden: usize,
    packets: usize,
    blocks: usize,
    #[comptime] layout: Layout,
    #[comptime] tile: Tile,
) {
    let mut place = Shared::<[u32]>::new_slice(2usize);
    find_place(tiles, &mut place, blocks, from, to, tile);
    let at = workgroup_uniform_load(&place[0]) as usize;
    let block = workgroup_uniform_load(&place[1]) as usize;
    if at > 0 {
        let expert = tiles[at + EXPERT] as usize;
        let (row0, rows) = (tiles[at + ROW] as usize, tiles[at + ROWS] as usize);
        let output0 = first_output(block, tile);
        let mut x_rows = Array::<usize>::new(tile.rows);
        #[unroll]
        for r in 0..tile.rows {
            x_rows[r] = (row0 + usize::min(r, rows - 1)) * packets;
        }
        let sum = product::<W>(
            x,
            &x_rows,
            words,
            expert * hidden - first,
            scales,
            expert * per_weight,
            across,
            output0,
            hidden,
            packets,
            layout,
            tile,
        );
        let (row, output) = (row_of_lane(tile), output0 + output_of_lane(tile));
        if row < rows && output < hidden {
            y[(row0 + row) * hidden + output] = sum;
        }
    }
}
