//! The two products of an expert, row tile by row tile, summed as
//! [`linear`](latent_kernels::linear) sums.

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, Gpu, GpuMatrix, GpuTensor, Layout, PACKET, Quad, Shard};
use latent_kernels::linear::gpu::tile::{LANES, Tile, fold_lanes, lane_sums};
use latent_kernels::swiglu::gpu::silu;
use latent_kernels::{Cost, KernelError, Matrix};

use super::tiles::{EXPERT, ExpertPlan, ROW, ROWS, SOURCES, find_place};

/// What is multiplied: rows that any of the experts may get.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) plan: ExpertPlan,
    pub(super) tiles: &'a Buffer,
    /// The number of rows.
    pub(super) choices: usize,
    /// The most experts that have rows.
    pub(super) hit: usize,
}

impl Rows<'_> {
    /// What a product costs that reads `inputs` different rows of `x`.
    ///
    /// Each expert that can be hit is read once at best; how many are hit, the host does not know.
    fn cost(self, inputs: usize, stacks: &[&GpuMatrix]) -> Cost {
        let (outputs, width) = (stacks[0].rows(), stacks[0].cols());
        let weights = outputs * stacks.iter().map(|w| w.row_bytes()).sum::<usize>();
        let ExpertPlan { tile, tiles } = self.plan;
        let read = 4 * width * tile.rows * outputs.div_ceil(tile.outputs) * stacks.len();
        let y = 4 * self.choices * outputs;
        Cost {
            floor_bytes: (4 * inputs * width + self.hit * weights + y) as u64,
            moved_bytes: (tiles * (read + weights) + y) as u64,
            multiply_adds: (self.choices * outputs * width * stacks.len()) as u64,
            ..Cost::default()
        }
    }
}

/// The experts of a shard.
fn experts_of(shard: &Shard, stack: &GpuMatrix) -> std::ops::Range<usize> {
    shard.first / stack.rows()..(shard.first + shard.rows) / stack.rows()
}

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
    find_place(tiles, &mut place, blocks, from, to, tile.rows);
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
    find_place(tiles, &mut place, blocks, from, to, tile.rows);
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

/// The first output of a unit's tile in a block of outputs.
#[cube]
fn first_output(block: usize, #[comptime] tile: Tile) -> usize {
    (block * tile.groups + UNIT_POS as usize / LANES) * tile.outputs
}

/// The row of the tile whose sum a lane is given; none of the tile where the lane is given none.
#[cube]
fn row_of_lane(#[comptime] tile: Tile) -> usize {
    UNIT_POS as usize % LANES / tile.outputs
}

/// The output of the tile whose sum a lane is given.
#[cube]
fn output_of_lane(#[comptime] tile: Tile) -> usize {
    UNIT_POS as usize % LANES % tile.outputs
}

/// A lane's sum of the products of rows of `x` with `outputs` rows of weights from `w_first` on,
/// those from `output0`.
#[cube]
fn product<W: Size>(
    x: &[Quad],
    x_rows: &Array<usize>,
    words: &[Vector<u32, W>],
    w_first: usize,
    scales: &[f32],
    scale_base: usize,
    across: usize,
    output0: usize,
    outputs: usize,
    packets: usize,
    #[comptime] layout: Layout,
    #[comptime] tile: Tile,
) -> f32 {
    // Tiles reach over the last output: what is read there once more is not stored.
    let mut w_rows = Array::<usize>::new(tile.outputs);
    let mut scale_rows = Array::<usize>::new(tile.outputs);
    #[unroll]
    for o in 0..tile.outputs {
        let output = usize::min(output0 + o, outputs - 1);
        w_rows[o] = (w_first + output) * packets;
        scale_rows[o] = output;
    }
    let sums = lane_sums::<W>(
        x,
        x_rows,
        words,
        &w_rows,
        scales,
        scale_base,
        &scale_rows,
        across,
        packets,
        layout,
        tile,
    );
    fold_lanes(&sums, tile)
}
