//! What is cached of a token, made and written in one kernel: the latent is normalised and the key
//! rotated in shared memory.

use cubecl::prelude::*;
use latent_kernels::gpu::{Cubes, Gpu, cube_sum};
use latent_kernels::rope::gpu::turns;
use latent_kernels::{Cost, KernelError, PairLayout, Scalar};

use super::pages::GpuPages;
use super::write::{UNITS, store_row};
use crate::attend::Latents;
use crate::{LATENT_NORM_EPS, RowFormat, Slot};

/// The bytes of shared memory of a cube.
pub(super) fn shared_bytes(width: usize) -> usize {
    4 * (width + 2 * UNITS)
}

/// Writes what is cached of each token to `slots`.
pub(super) fn write(
    gpu: &Gpu,
    pages: &GpuPages,
    slots: &[Slot],
    latents: &Latents<'_, Gpu>,
) -> Result<(), KernelError> {
    let (width, row_words, rows) = (pages.width(), pages.row_words(), slots.len());
    let at = gpu.upload_words(&pages.rows_at(slots)?)?;
    let Latents { kv_a, gain, rope, positions } = latents;
    let turns = turns(gpu, rope, positions)?;
    let (pairs, format) = (rope.frequencies().len(), pages.format());
    let interleaved = rope.layout() == PairLayout::Interleaved;
    let bytes = 4 * (kv_a.elements() + gain.elements() + rows * (row_words + 1)) + turns.bytes();
    let cubes = Cubes { cubes: rows, units: UNITS, shared_bytes: shared_bytes(width) };
    gpu.launch("write_latents", cubes, Cost::streaming(bytes), |client, grid, cube| {
        latents_kernel::launch(
            client,
            grid,
            cube,
            kv_a.arg(),
            gain.arg(),
            turns.arg(4),
            at.arg(4),
            pages.arg(),
            rows,
            gain.elements(),
            pairs,
            row_words,
            <f32 as Scalar>::from_f64(LATENT_NORM_EPS),
            interleaved,
            width,
            format,
        );
    })
}

#[cube(launch)]
fn latents_kernel(
    kv_a: &[f32],  // [row, width]
    gain: &[f32],  // [rank]
    turns: &[f32], // [row, pair, 2]
    at: &[u32],    // [row]
    words: &mut [u32],
    rows: usize,
    rank: usize,
    pairs: usize,
    row_words: usize,
    eps: f32,
    #[comptime] interleaved: bool,
    #[comptime] width: usize,
    #[comptime] format: RowFormat,
) {
    let mut finished = Shared::<[f32]>::new_slice(width);
    // Cubes behind the last row write it once more.
    let row = usize::min(CUBE_POS, rows - 1);
    let from = row * width;
    let unit = UNIT_POS as usize;
    let mut squares = f32::new(0.0);
    let mut i = unit;
    while i < rank {
        squares = fma(kv_a[from + i], kv_a[from + i], squares);
        i += UNITS;
    }
    let mean = cube_sum(squares, UNITS) / f32::cast_from(rank);
    let scale = 1.0 / f32::sqrt(mean + eps);
    let mut i = unit;
    while i < rank {
        finished[i] = gain[i] * (kv_a[from + i] * scale);
        i += UNITS;
    }
    let mut pair = unit;
    while pair < pairs {
        let (first, second) = if comptime!(interleaved) {
            (rank + 2 * pair, rank + 2 * pair + 1)
        } else {
            (rank + pair, rank + pair + pairs)
        };
        let (cos, sin) = (turns[(row * pairs + pair) * 2], turns[(row * pairs + pair) * 2 + 1]);
        let (a, b) = (kv_a[from + first], kv_a[from + second]);
        finished[first] = a * cos - b * sin;
        finished[second] = b * cos + a * sin;
        pair += UNITS;
    }
    sync_cube();
    store_row(finished.inner_ref(), 0, words, at[row] as usize * row_words, width, format);
}
