//! The rows of all experts, cut into tiles that never hold two experts' rows.
//!
//! The host does not know how many rows an expert has. Tiles are listed on the device, and products
//! are launched for as many as there can be; cubes behind the last tile do nothing.

#![expect(clippy::cast_possible_truncation, reason = "devices count in 32 bits")]

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, Cubes, Gpu};
use latent_kernels::linear::gpu::tile::Tile;
use latent_kernels::{Cost, KernelError, linear};

use crate::gpu::GpuRouting;

/// The units of a cube that lists one expert's tiles.
const UNITS: usize = 64;

// The words of a tile, behind a first word that counts the tiles.
/// The expert.
pub(super) const EXPERT: usize = 0;
/// The first tile of the expert.
pub(super) const RUN: usize = 1;
/// The number of tiles of the expert.
pub(super) const RUN_TILES: usize = 2;
/// The first row, sorted by expert.
pub(super) const ROW: usize = 3;
/// The number of rows.
pub(super) const ROWS: usize = 4;
/// For each row the row of the input, the last one repeated up to the tile's height.
pub(super) const SOURCES: usize = 5;

/// How the rows of all experts are cut into tiles, each of one expert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExpertPlan {
    /// What 32 lanes compute at once; `rows` is the height of a tile.
    pub tile: Tile,
    /// The most tiles that there can be.
    pub tiles: usize,
}

impl ExpertPlan {
    /// The plan for `choices` rows that any of `experts` experts may get.
    ///
    /// The height follows from the rows that an expert gets on average. No height changes a bit.
    ///
    /// ```
    /// use latent_moe::gpu::ExpertPlan;
    /// // One token reads each of its 8 experts once.
    /// let decode = ExpertPlan::new(8, 256);
    /// assert_eq!((decode.tile.rows, decode.tiles), (1, 8));
    /// // 4096 tokens: full tiles of 8 rows, and up to 7/8 of a tile more for each expert.
    /// let prefill = ExpertPlan::new(8 * 4096, 256);
    /// assert_eq!((prefill.tile.rows, prefill.tiles), (8, 4096 + 224));
    /// ```
    #[must_use]
    pub fn new(choices: usize, experts: usize) -> Self {
        let tile = linear::gpu::plan(choices.div_ceil(experts.max(1)));
        let hit = experts.min(choices);
        Self { tile, tiles: (choices + hit * (tile.rows - 1)) / tile.rows }
    }

    /// The cubes that each tile takes for `outputs` outputs.
    #[must_use]
    pub fn blocks(self, outputs: usize) -> usize {
        outputs.div_ceil(self.tile.outputs * self.tile.groups)
    }

    /// The cubes of a product of `outputs` outputs that folds `sums` of each.
    pub(super) fn cubes(self, outputs: usize, sums: usize) -> Cubes {
        Cubes {
            cubes: self.tiles * self.blocks(outputs),
            units: self.tile.units(),
            shared_bytes: sums * self.tile.shared_bytes() + 8,
        }
    }
}

/// Lists the tiles of `routing` by ascending expert.
///
/// Rows come from the tokens of `x` if `gathered`, else from rows that were dispatched.
pub(super) fn list(
    gpu: &Gpu,
    routing: &GpuRouting,
    plan: ExpertPlan,
    gathered: bool,
) -> Result<Buffer, KernelError> {
    let (n, height) = (routing.n_routed_experts, plan.tile.rows);
    let tiles = gpu.buffer(4 * (1 + plan.tiles * (SOURCES + height)))?;
    let cost = Cost {
        floor_bytes: (4 * (n + 1 + routing.choices()) + tiles.bytes()) as u64,
        moved_bytes: (4 * (n * (n + 1) + routing.choices()) + tiles.bytes()) as u64,
        ..Cost::default()
    };
    let cubes = Cubes { cubes: n, units: UNITS, shared_bytes: 4 * UNITS };
    gpu.launch("expert_tiles", cubes, cost, |client, count, dim| {
        let (offsets, choices) = (routing.order.offsets.arg(4), routing.order.choices.arg(4));
        let k = routing.num_experts_per_tok;
        list_kernel::launch(
            client,
            count,
            dim,
            offsets,
            choices,
            tiles.arg(4),
            n,
            k,
            height,
            gathered,
        );
    })?;
    Ok(tiles)
}

#[cube(launch)]
fn list_kernel(
    offsets: &[u32],   // [expert + 1]
    choices: &[u32],   // [row]
    tiles: &mut [u32], // a count, then [tile, word]
    n: usize,
    k: usize,
    height: usize,
    #[comptime] gathered: bool,
) {
    // Cubes behind the last expert do that expert once more.
    let expert = usize::min(CUBE_POS, n - 1);
    let unit = UNIT_POS as usize;
    let mut parts = Shared::<[u32]>::new_slice(UNITS);
    let mut part = 0usize;
    let mut e = unit;
    while e < expert {
        part += ((offsets[e + 1] - offsets[e]) as usize).div_ceil(height);
        e += UNITS;
    }
    parts[unit] = part as u32;
    sync_cube();
    let mut run = 0usize;
    for u in 0..UNITS {
        run += parts[u] as usize;
    }

    let first = offsets[expert] as usize;
    let end = offsets[expert + 1] as usize;
    let count = (end - first).div_ceil(height);
    if unit == 0 && expert == n - 1 {
        tiles[0] = (run + count) as u32;
    }
    let mut tile = unit;
    while tile < count {
        let at = 1 + (run + tile) * (height + SOURCES);
        let row = first + tile * height;
        tiles[at + EXPERT] = expert as u32;
        tiles[at + RUN] = run as u32;
        tiles[at + RUN_TILES] = count as u32;
        tiles[at + ROW] = row as u32;
        tiles[at + ROWS] = usize::min(height, end - row) as u32;
        for r in 0..height {
            let row = usize::min(row + r, end - 1);
            let source = if comptime!(gathered) { choices[row] as usize / k } else { row };
            tiles[at + SOURCES + r] = source as u32;
        }
        tile += UNITS;
    }
}

/// The tile of a cube, and which of its `blocks` of outputs the cube computes: `place` is given the
/// word at which the tile begins, and the block. The word is 0 where the cube has nothing to do:
/// behind the last tile, or where the expert is not one of `from..to`.
///
/// The cubes of an expert follow one another, those of one block side by side: an expert's weights
/// come from memory once, while its rows stay near.
#[cube]
pub(super) fn find_place(
    tiles: &[u32],
    place: &mut Shared<[u32]>,
    blocks: usize,
    from: usize,
    to: usize,
    #[comptime] tile: Tile,
) {
    // The last unit: where units run one after another, a barrier that is missing shows.
    if UNIT_POS as usize == comptime!(tile.units() - 1) {
        place[0] = 0u32;
        place[1] = 0u32;
        let slot = CUBE_POS / blocks;
        if slot < tiles[0] as usize {
            let words = comptime!(tile.rows + SOURCES);
            let at = 1 + slot * words;
            let expert = tiles[at + EXPERT] as usize;
            if expert >= from && expert < to {
                let run = tiles[at + RUN] as usize;
                let run_tiles = tiles[at + RUN_TILES] as usize;
                let cube = CUBE_POS - run * blocks;
                place[0] = (1 + (run + cube % run_tiles) * words) as u32;
                place[1] = (cube / run_tiles) as u32;
            }
        }
    }
}
