//! What the products of an expert share: their cost, and the sums of a tile, in the order of
//! [`linear`](latent_kernels::linear).

use std::ops::Range;

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, GpuMatrix, Layout, Quad, Shard};
use latent_kernels::linear::gpu::tile::{LANES, Tile, fold_lanes, lane_sums};
use latent_kernels::{Cost, Matrix};

use super::tiles::ExpertPlan;

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
    pub(super) fn cost(self, inputs: usize, stacks: &[&GpuMatrix]) -> Cost {
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
pub(super) fn experts_of(shard: &Shard, stack: &GpuMatrix) -> Range<usize> {
    shard.first / stack.rows()..(shard.first + shard.rows) / stack.rows()
}

/// The first output of a unit's tile in a block of outputs.
#[cube]
pub(super) fn first_output(block: usize, #[comptime] tile: Tile) -> usize {
    (block * tile.groups + UNIT_POS as usize / LANES) * tile.outputs
}

/// The row of the tile whose sum a lane is given; none of the tile where the lane is given none.
#[cube]
pub(super) fn row_of_lane(#[comptime] tile: Tile) -> usize {
    UNIT_POS as usize % LANES / tile.outputs
}

/// The output of the tile whose sum a lane is given.
#[cube]
pub(super) fn output_of_lane(#[comptime] tile: Tile) -> usize {
    UNIT_POS as usize % LANES % tile.outputs
}

/// A lane's sum of the products of rows of `x` with `outputs` rows of weights from `w_first` on,
/// those from `output0`.
#[cube]
pub(super) fn product<W: Size>(
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
        UNIT_POS as usize % LANES,
        layout,
        tile,
    );
    // A tile has no more sums than lanes.
    let folded = fold_lanes(&sums, tile);
    folded[0]
}
