//! The first product of an expert: gate and up, and the SwiGLU of both, in one pass over the rows.

use cubecl::prelude::*;
use latent_kernels::gpu::{Gpu, GpuMatrix, GpuTensor, Layout, PACKET, Quad};
use latent_kernels::linear::gpu::tile::Tile;
use latent_kernels::swiglu::gpu::silu;
use latent_kernels::{KernelError, Matrix};

use super::product::{Rows, experts_of, first_output, output_of_lane, product, row_of_lane};
use super::tiles::{EXPERT, ROW, ROWS, SOURCES, find_place};

/// `silu(gate_proj x) * up_proj x` of each row: `[row, inner]` in packets, filled up with zeros.
///
/// `x` `[.., hidden]` lies in packets, `inputs` rows of it are read.
pub(super) fn up(
    gpu: &Gpu,
    [gate_proj, up_proj]: [&GpuMatrix; 2],
    x: &GpuTensor,
    inputs: usize,
    rows: Rows<'_>,
) -> Result<GpuTensor, KernelError> {
    let (inner, plan) = (gate_proj.rows(), rows.plan);
    let width = inner.next_multiple_of(PACKET);
    let y = gpu.empty(&[rows.choices, width])?;
    // The first launch bears the cost of all.
    let mut cost = rows.cost(inputs, &[gate_proj, up_proj]);
    for gate in gate_proj.shards() {
        for up in up_proj.shards() {
            let (g, u) = (experts_of(gate, gate_proj), experts_of(up, up_proj));
            let (from, to) = (g.start.max(u.start), g.end.min(u.end));
            if from >= to {
                continue;
            }
            let cost = std::mem::take(&mut cost);
            gpu.launch("experts_up", plan.cubes(width, 2), cost, |client, count, dim| {
                up_kernel::launch(
                    client,
                    count,
                    dim,
                    gate_proj.layout().packing.words(),
                    up_proj.layout().packing.words(),
                    x.arg4(),
                    rows.tiles.arg(4),
                    gate.arg(gate_proj.layout()),
                    gate_proj.scales_arg(),
                    gate.first,
                    gate_proj.scales_per_weight(),
                    gate_proj.scales_across(),
                    up.arg(up_proj.layout()),
                    up_proj.scales_arg(),
                    up.first,
                    up_proj.scales_per_weight(),
                    up_proj.scales_across(),
                    y.arg(),
                    from,
                    to,
                    inner,
                    gate_proj.packets(),
                    plan.blocks(width),
                    gate_proj.layout(),
                    up_proj.layout(),
                    plan.tile,
                );
            })?;
        }
    }
    Ok(y)
}

#[cube(launch)]
fn up_kernel<G: Size, U: Size>(
    x: &[Quad],    // [.., packet]
    tiles: &[u32], // see `find_place`
    gate_words: &[Vector<u32, G>],
    gate_scales: &[f32],
    gate_first: usize,
    gate_per_weight: usize,
    gate_across: usize,
    up_words: &[Vector<u32, U>],
    up_scales: &[f32],
    up_first: usize,
    up_per_weight: usize,
    up_across: usize,
    y: &mut [f32], // [row, inner in packets]
    from: usize,
    to: usize,
    inner: usize,
    packets: usize,
    blocks: usize,
    #[comptime] gate_layout: Layout,
    #[comptime] up_layout: Layout,
    #[comptime] tile: Tile,
) {
    let mut place = Shared::<[u32]>::new_slice(2usize);
    find_place(tiles, &mut place, blocks, from, to, tile);
    let at = workgroup_uniform_load(&place[0]) as usize;
    let block = workgroup_uniform_load(&place[1]) as usize;
    if at > 0 {
        let expert = tiles[at + EXPERT] as usize;
        let output0 = first_output(block, tile);
        let mut x_rows = Array::<usize>::new(tile.rows);
        #[unroll]
        for r in 0..tile.rows {
            x_rows[r] = tiles[at + SOURCES + r] as usize * packets;
        }
        let gate = product::<G>(
            x,
            &x_rows,
            gate_words,
            expert * inner - gate_first,
            gate_scales,
            expert * gate_per_weight,
            gate_across,
            output0,
            inner,
            packets,
            gate_layout,
            tile,
        );
        let up = product::<U>(
            x,
            &x_rows,
            up_words,
            expert * inner - up_first,
            up_scales,
            expert * up_per_weight,
            up_across,
            output0,
            inner,
            packets,
            up_layout,
            tile,
        );
        let (row, output) = (row_of_lane(tile), output0 + output_of_lane(tile));
        let width = inner.div_ceil(PACKET) * PACKET;
        if row < tiles[at + ROWS] as usize && output < width {
            // The last packet of a row is filled up.
            let value = select(output < inner, silu(gate) * up, f32::new(0.0));
            y[(tiles[at + ROW] as usize + row) * width + output] = value;
        }
    }
}
