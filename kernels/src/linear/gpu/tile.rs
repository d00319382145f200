//! The sums of a tile of outputs, in the one order that every plan keeps.
//!
//! 32 lanes share each sum: a lane takes every 32nd packet of four inputs and keeps four partial
//! sums, which are added at the end within the lane, then lane after lane.

#![expect(missing_docs, reason = "the kernel macro makes public items without documentation")]

use cubecl::prelude::*;

use crate::gpu::unpack::unpack;
use crate::gpu::{Layout, Quad, scaled};

/// The lanes that share one sum.
pub const LANES: usize = 32;

/// What 32 lanes compute at once, and how many such groups a cube has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// The rows of inputs.
    pub rows: usize,
    /// The outputs of each.
    pub outputs: usize,
    /// The groups of lanes of a cube, each with a tile of its own.
    pub groups: usize,
}

impl Tile {
    /// The sums of a tile.
    #[must_use]
    pub const fn sums(self) -> usize {
        self.rows * self.outputs
    }

    /// The units of a cube.
    #[must_use]
    pub const fn units(self) -> usize {
        LANES * self.groups
    }

    /// The bytes of shared memory that [`fold_lanes`] takes.
    #[must_use]
    pub const fn shared_bytes(self) -> usize {
        4 * self.groups * self.sums() * (LANES + 1)
    }
}

/// A lane's part of the sums `[row, output]` of a tile.
///
/// `x_rows` says at which packet of `x` each row begins, `w_rows` the same of each output's weights
/// in `w`, and `scale_rows` which row of the weight each output is, whose scales begin at
/// `scale_base`.
#[cube]
pub fn lane_sums<W: Size>(
    x: &[Quad],
    x_rows: &Array<usize>,
    w: &[Vector<u32, W>],
    w_rows: &Array<usize>,
    scales: &[f32],
    scale_base: usize,
    scale_rows: &Array<usize>,
    scales_across: usize,
    packets: usize,
    #[comptime] layout: Layout,
    #[comptime] tile: Tile,
) -> Array<Quad> {
    let mut sums = Array::<Quad>::new(comptime!(tile.sums()));
    #[unroll]
    for i in 0..comptime!(tile.sums()) {
        sums[i] = Quad::new(0.0);
    }
    let mut weights = Array::<Quad>::new(tile.outputs);
    let mut packet = UNIT_POS as usize % LANES;
    while packet < packets {
        #[unroll]
        for o in 0..tile.outputs {
            let quad = unpack::<W>(w[w_rows[o] + packet], layout.packing);
            weights[o] =
                scaled(quad, scales, scale_base, scales_across, scale_rows[o], packet, layout);
        }
        #[unroll]
        for r in 0..tile.rows {
            let quad = x[x_rows[r] + packet];
            #[unroll]
            for o in 0..tile.outputs {
                let i = comptime!(r * tile.outputs + o);
                sums[i] = fma(quad, weights[o], sums[i]);
            }
        }
        packet += LANES;
    }
    sums
}

/// The sums of all lanes of a group: lane `i` is given sum `i` of the tile, lanes behind the last
/// sum 0.
///
/// Every unit of the cube must take part.
#[cube]
pub fn fold_lanes(sums: &Array<Quad>, #[comptime] tile: Tile) -> f32 {
    let lane = UNIT_POS as usize % LANES;
    // One column more than lanes: lanes that fold different sums read from different banks.
    let stride = comptime!(LANES + 1);
    let mut partial = Shared::<[f32]>::new_slice(comptime!(tile.shared_bytes() / 4));
    let base = UNIT_POS as usize / LANES * comptime!(tile.sums() * (LANES + 1));
    #[unroll]
    for i in 0..comptime!(tile.sums()) {
        let quad = sums[i];
        let sum = (quad.extract(0usize) + quad.extract(1usize))
            + (quad.extract(2usize) + quad.extract(3usize));
        partial[base + i * stride + lane] = sum;
    }
    sync_cube();
    let mut sum = f32::new(0.0);
    if lane < comptime!(tile.sums()) {
        for l in 0..LANES {
            sum += partial[base + lane * stride + l];
        }
    }
    sum
}
