//! The sums of a tile of outputs, in the one order that every plan keeps.
//!
//! A sum has 32 lanes. A lane adds up every 32nd packet of four inputs, element after element; then
//! the lanes are added, one after another. Whether 32 units have a lane each or one unit goes
//! through them all changes no bit.

#![expect(missing_docs, reason = "the kernel macro makes public items without documentation")]

use cubecl::prelude::*;

use crate::gpu::unpack::unpack;
use crate::gpu::{Layout, PACKET, Quad, scaled};

/// The lanes that share one sum.
pub const LANES: usize = 32;

/// One more than lanes: lanes that fold different sums read from different banks of shared memory.
const STRIDE: usize = LANES + 1;

/// What is computed at once, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// The rows of inputs.
    pub rows: usize,
    /// The outputs of each.
    pub outputs: usize,
    /// The tiles of a cube.
    pub groups: usize,
    /// Whether 32 units share a tile, a lane each, or one unit goes through all lanes.
    pub shared: bool,
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
        self.groups * if self.shared { LANES } else { 1 }
    }

    /// How often a group folds 32 of its sums.
    #[must_use]
    pub const fn folds(self) -> usize {
        self.sums().div_ceil(LANES)
    }

    /// How many of its sums a group folds at once.
    const fn folded_at_once(self) -> usize {
        if self.sums() < LANES { self.sums() } else { LANES }
    }

    /// The bytes of shared memory that [`fold_lanes()`] takes.
    #[must_use]
    pub const fn shared_bytes(self) -> usize {
        if self.shared { 4 * self.groups * self.folded_at_once() * STRIDE } else { 0 }
    }
}

/// The part of lane `lane` of the sums `[row, output]` of a tile.
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
    lane: usize,
    #[comptime] layout: Layout,
    #[comptime] tile: Tile,
) -> Array<f32> {
    let mut sums = Array::<f32>::new(comptime!(tile.sums()));
    #[unroll]
    for i in 0..comptime!(tile.sums()) {
        sums[i] = f32::new(0.0);
    }
    let mut weights = Array::<Quad>::new(tile.outputs);
    let mut packet = lane;
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
                let weight = weights[o];
                #[unroll]
                for e in 0..PACKET {
                    sums[i] = fma(quad.extract(e), weight.extract(e), sums[i]);
                }
            }
        }
        packet += LANES;
    }
    sums
}

/// The sums of a tile by one unit, lane after lane.
#[cube]
pub fn all_lanes<W: Size>(
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
) -> Array<f32> {
    let mut totals = Array::<f32>::new(comptime!(tile.sums()));
    #[unroll]
    for i in 0..comptime!(tile.sums()) {
        totals[i] = f32::new(0.0);
    }
    for lane in 0..LANES {
        let sums = lane_sums::<W>(
            x,
            x_rows,
            w,
            w_rows,
            scales,
            scale_base,
            scale_rows,
            scales_across,
            packets,
            lane,
            layout,
            tile,
        );
        #[unroll]
        for i in 0..comptime!(tile.sums()) {
            totals[i] += sums[i];
        }
    }
    totals
}

/// The sums of all lanes of a group, in the order of lanes: lane `l` is given the sums `l`, `32 + l`,
/// and so on, of the tile; those behind its last sum are of no use.
///
/// Every unit of the cube must take part.
#[cube]
pub fn fold_lanes(sums: &Array<f32>, #[comptime] tile: Tile) -> Array<f32> {
    let lane = UNIT_POS as usize % LANES;
    let mut partial = Shared::<[f32]>::new_slice(comptime!(tile.shared_bytes() / 4));
    let base = UNIT_POS as usize / LANES * comptime!(tile.folded_at_once() * STRIDE);
    // Lanes without a sum fold another's.
    let mine = base + usize::min(lane, comptime!(tile.folded_at_once() - 1)) * STRIDE;
    let mut folded = Array::<f32>::new(comptime!(tile.folds()));
    #[unroll]
    for fold in 0..tile.folds() {
        #[unroll]
        for i in 0..LANES {
            if comptime!(fold * LANES + i < tile.sums()) {
                partial[base + i * STRIDE + lane] = sums[fold * LANES + i];
            }
        }
        sync_cube();
        let mut sum = f32::new(0.0);
        for l in 0..LANES {
            sum += partial[mine + l];
        }
        folded[fold] = sum;
        sync_cube();
    }
    folded
}
