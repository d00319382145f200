//! Rows written to pages, rounded on the way: a cube writes a row.

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, Cubes, Gpu, GpuTensor, cube_max};
use latent_kernels::{Cost, KernelError};

use super::pages::GpuPages;
use super::row::{bf16_bits, e4m3_bits, reciprocal};
use crate::RowFormat;
use crate::cache::{PER_LARGEST, SCALE_BLOCK, SMALLEST};

/// The units of a cube: one for each element that shares a scale.
pub(super) const UNITS: usize = SCALE_BLOCK;

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
    let cubes = Cubes { cubes: count, units: UNITS, shared_bytes: 4 * UNITS };
    gpu.launch("write_rows", cubes, cost, |client, grid, cube| {
        let (rows, at, words, format) = (rows.arg(), at.arg(4), pages.arg(), pages.format());
        write_kernel::launch(client, grid, cube, rows, at, words, count, width, row_words, format);
    })
}

#[cube(launch)]
fn write_kernel(
    rows: &[f32],
    at: &[u32],
    words: &mut [u32],
    count: usize,
    width: usize,
    row_words: usize,
    #[comptime] format: RowFormat,
) {
    // Cubes behind the last row write it once more.
    let row = usize::min(CUBE_POS, count - 1);
    store_row(rows, row * width, words, at[row] as usize * row_words, width, format);
}

/// Writes the row of `width` elements at `row[from..]` to the words from `base` on. All units of
/// the cube take part.
#[cube]
pub(super) fn store_row(
    row: &[f32],
    from: usize,
    words: &mut [u32],
    base: usize,
    width: usize,
    #[comptime] format: RowFormat,
) {
    match comptime!(format) {
        RowFormat::Scalar => {
            let mut i = UNIT_POS as usize;
            while i < width {
                words[base + i] = u32::reinterpret(row[from + i]);
                i += UNITS;
            }
        }
        RowFormat::Bf16 => store_bf16(row, from, words, base, width),
        RowFormat::Fp8 { latent } => {
            let blocks = comptime!(latent.div_ceil(SCALE_BLOCK));
            let scales = base + comptime!(latent.div_ceil(4));
            for block in 0..blocks {
                store_block(row, from, words, base, scales, block, latent);
            }
            store_bf16(row, from + latent, words, scales + blocks, width - latent);
        }
    }
}

/// Writes elements two in a word; an odd last one beside 0.
#[cube]
fn store_bf16(row: &[f32], from: usize, words: &mut [u32], base: usize, width: usize) {
    let mut i = UNIT_POS as usize;
    while 2 * i < width {
        let mut word = bf16_bits(row[from + 2 * i]);
        if 2 * i + 1 < width {
            word |= bf16_bits(row[from + 2 * i + 1]) << 16;
        }
        words[base + i] = word;
        i += UNITS;
    }
}

/// Writes the elements of one block of a latent four in a word, and their scale.
#[cube]
fn store_block(
    row: &[f32],
    from: usize,
    words: &mut [u32],
    base: usize,
    scales: usize,
    block: usize,
    #[comptime] latent: usize,
) {
    let unit = UNIT_POS as usize;
    let own = block * SCALE_BLOCK + unit;
    let mut magnitude = f32::new(0.0);
    if own < latent {
        let value = f32::abs(row[from + own]);
        magnitude = select(value.is_nan(), f32::new(0.0), value);
    }
    let scale = f32::max(cube_max(magnitude, UNITS), SMALLEST) * PER_LARGEST;
    let inverse = reciprocal(scale);
    let word = block * comptime!(SCALE_BLOCK / 4) + unit;
    if unit < comptime!(SCALE_BLOCK / 4) && word < comptime!(latent.div_ceil(4)) {
        let mut packed = 0u32;
        #[unroll]
        for i in 0..4u32 {
            let column = word * 4 + comptime!(i as usize);
            if column < latent {
                packed |= e4m3_bits(row[from + column] * inverse) << comptime!(8 * i);
            }
        }
        words[base + word] = packed;
    }
    if unit == 0 {
        words[scales + block] = u32::reinterpret(scale);
    }
    // The next block's maximum goes where this one's was read.
    sync_cube();
}
