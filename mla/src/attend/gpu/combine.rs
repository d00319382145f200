//! Sums over single splits, combined in ascending order.

use std::ops::Range;

use cubecl::prelude::*;
use latent_kernels::gpu::{Buffer, Cubes, Gpu};
use latent_kernels::{Cost, KernelError};

use super::attention::{Problem, Results};
use super::pages::word;
use super::plan::SPLIT_KEYS;
use super::table::{Block, rows};

/// The units of a cube.
const UNITS: usize = 128;

/// Adds the splits of `part` to what was combined before of the tokens of `blocks`.
pub(super) fn combine(
    gpu: &Gpu,
    problem: &Problem<'_>,
    blocks: &[Block],
    part: Range<usize>,
    partial: &Buffer,
    results: &Results,
) -> Result<(), KernelError> {
    let seen = blocks.iter().flat_map(|b| (1..=b.tokens).map(|i| word(b.start + i)));
    let seen = gpu.upload_words(&seen.collect::<Vec<_>>())?;
    let rows = rows(blocks);
    let ([first_head, heads], dim) = (problem.heads, problem.layout.value_dim);
    let cubes = Cubes { cubes: rows.len() * heads, units: UNITS, shared_bytes: 0 };
    let cost = Cost::streaming(partial.bytes() + 4 * rows.len() * heads * dim);
    gpu.launch("combine_splits", cubes, cost, |client, count, cube| {
        combine_kernel::launch(
            client,
            count,
            cube,
            partial.arg(4),
            seen.arg(4),
            results.carried.arg(4),
            results.o.arg(),
            rows.len(),
            rows.start,
            part.start,
            part.len(),
            heads,
            problem.all_heads,
            first_head,
            dim,
        );
    })
}

#[cube(launch)]
fn combine_kernel(
    partial: &[f32],     // [row, head, split, value_dim + (maximum, sum)]
    seen: &[u32],        // [row]
    carried: &mut [f32], // [batch row, head, (maximum, sum)]
    o: &mut [f32],       // [batch row, head, value_dim]
    rows: usize,
    first_row: usize,
    first_split: usize,
    splits: usize,
    heads: usize,
    all_heads: usize,
    first_head: usize,
    value_dim: usize,
) {
    let row = CUBE_POS / heads;
    if row < rows {
        let head = CUBE_POS % heads;
        let all = (seen[row] as usize).div_ceil(SPLIT_KEYS);
        let end = usize::min(all, first_split + splits);
        let at = (first_row + row) * all_heads + first_head + head;
        let mut before_max = f32::min_value();
        let mut before_sum = f32::new(0.0);
        if first_split > 0 {
            before_max = carried[2 * at];
            before_sum = carried[2 * at + 1];
        }
        // Unit 0 writes them once all have read them.
        sync_cube();
        let mut column = UNIT_POS as usize;
        while column < value_dim && first_split < all {
            let (mut max, mut sum) = (before_max, before_sum);
            let mut value = f32::new(0.0);
            if first_split > 0 {
                value = o[at * value_dim + column];
            }
            for split in first_split..end {
                let base = ((row * heads + head) * splits + split - first_split) * (value_dim + 2);
                let other = partial[base + value_dim];
                let new = select(other > max, other, max);
                let (old_share, share) = (f32::exp(max - new), f32::exp(other - new));
                sum = fma(partial[base + value_dim + 1], share, sum * old_share);
                value = fma(partial[base + column], share, value * old_share);
                max = new;
            }
            if end == all {
                // No share: every score is -∞ and the token sees no key.
                value /= select(sum == 0.0, f32::new(1.0), sum);
            } else if column == 0 {
                carried[2 * at] = max;
                carried[2 * at + 1] = sum;
            }
            o[at * value_dim + column] = value;
            column += UNITS;
        }
    }
}
