//! Rows written to pages, rounded on the way.

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, Cubes, Gpu, GpuTensor, cube_max};
use latent_kernels::{Cost, KernelError};

use super::pages::GpuPages;
use super::row::{bf16_bits, e4m3_bits, reciprocal};
use crate::RowFormat;
use crate::cache::{PER_LARGEST, SCALE_BLOCK, SMALLEST};

/// The units of a cube.
const UNITS: usize = 256;

/// Writes `count` rows to where `at` says.
pub(super) fn write(
    gpu: &Gpu,
    pages: &GpuPages,
    count: usize,
    at: &Buffer,
    rows: &GpuTensor,
) -> Result<(), KernelError> {
    let (width, row_words) = (pages.width(), pages.row_words());
    let cost = Cost::streaming(4 * (rows.elements() + count * row_words + count));
    let RowFormat::Fp8 { latent } = pages.format() else {
        let rounded = pages.format() == RowFormat::Bf16;
        let cubes = Cubes::covering(count * row_words, UNITS);
        return gpu.launch("write_rows", cubes, cost, |client, grid, cube| {
            let (rows, at, words) = (rows.arg(), at.arg(4), pages.arg());
            write_kernel::launch(
                client, grid, cube, rows, at, words, count, width, row_words, rounded,
            );
        });
    };
    let parts = count * (latent.div_ceil(SCALE_BLOCK) + 1);
    let cubes = Cubes { cubes: parts, units: SCALE_BLOCK, shared_bytes: 4 * SCALE_BLOCK };
    gpu.launch("write_rows", cubes, cost, |client, grid, cube| {
        let (rows, at, words) = (rows.arg(), at.arg(4), pages.arg());
        scaled_kernel::launch(client, grid, cube, rows, at, words, parts, width, row_words, latent);
    })
}

/// A unit writes a word.
#[cube(launch)]
fn write_kernel(
    rows: &[f32],
    at: &[u32],
    words: &mut [u32],
    count: usize,
    width: usize,
    row_words: usize,
    #[comptime] rounded: bool,
) {
    let row = ABSOLUTE_POS / row_words;
    if row < count {
        let word = ABSOLUTE_POS % row_words;
        let to = at[row] as usize * row_words + word;
        if comptime!(rounded) {
            words[to] = bf16_pair(rows, row * width, word, width);
        } else {
            words[to] = u32::reinterpret(rows[row * width + word]);
        }
    }
}

/// Elements `2 * pair` and the next of the row at `from`, in bf16; 0 behind its end.
#[cube]
fn bf16_pair(rows: &[f32], from: usize, pair: usize, width: usize) -> u32 {
    let mut word = bf16_bits(rows[from + 2 * pair]);
    if 2 * pair + 1 < width {
        word |= bf16_bits(rows[from + 2 * pair + 1]) << 16;
    }
    word
}

/// A cube writes the elements of a row that share a scale, or those behind the latent.
#[cube(launch)]
fn scaled_kernel(
    rows: &[f32],
    at: &[u32],
    words: &mut [u32],
    parts: usize,
    width: usize,
    row_words: usize,
    latent: usize,
) {
    // Cubes behind the last part do it once more.
    let part = usize::min(CUBE_POS, parts - 1);
    let blocks = latent.div_ceil(SCALE_BLOCK);
    let row = part / (blocks + 1);
    let block = part % (blocks + 1);
    let from = row * width;
    let base = at[row] as usize * row_words;
    let scales = base + latent.div_ceil(4);
    let unit = UNIT_POS as usize;

    let mut magnitude = f32::new(0.0);
    let own = block * SCALE_BLOCK + unit;
    if own < latent {
        let value = f32::abs(rows[from + own]);
        magnitude = select(value.is_nan(), f32::new(0.0), value);
    }
    let largest = cube_max(magnitude, SCALE_BLOCK);
    if block < blocks {
        let scale = f32::max(largest, SMALLEST) * PER_LARGEST;
        let inverse = reciprocal(scale);
        let word = block * comptime!(SCALE_BLOCK / 4) + unit;
        if unit < comptime!(SCALE_BLOCK / 4) && word < latent.div_ceil(4) {
            let mut packed = 0u32;
            #[unroll]
            for i in 0..4u32 {
                let column = word * 4 + comptime!(i as usize);
                if column < latent {
                    packed |= e4m3_bits(rows[from + column] * inverse) << comptime!(8 * i);
                }
            }
            words[base + word] = packed;
        }
        if unit == 0 {
            words[scales + block] = u32::reinterpret(scale);
        }
    } else {
        let rotated = width - latent;
        let mut pair = unit;
        while 2 * pair < rotated {
            words[scales + blocks + pair] = bf16_pair(rows, from + latent, pair, rotated);
            pair += SCALE_BLOCK;
        }
    }
}
