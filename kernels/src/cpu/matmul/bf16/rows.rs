//! Rows of a left side in pairs of bf16.

use std::ops::Range;

use super::Block;
use crate::cpu::bf16::{COLUMNS, round_line};
use crate::cpu::simd::{LANES, Simd};

/// Writes the rows of a task, rounded, so many words apart: a word is a pair of neighbours, and pairs that are not there
/// are zeros up to the next whole line.
///
/// # Safety
/// The processor has the instructions of `S`, the task's left side has the rows, and `to` has room for them.
#[inline(always)]
pub(super) unsafe fn pack<S: Simd>(
    block: &Block<'_>,
    pairs: Range<usize>,
    to: *mut f32,
    stride: usize,
) {
    let (a, width) = (block.job.a, block.job.b.rows());
    let columns = 2 * pairs.start..width.min(2 * pairs.end);
    // SAFETY: by the contract of this function.
    unsafe {
        if a.col == 1 {
            for (i, row) in block.rows.clone().enumerate() {
                let row = &a.values[row * a.row..][columns.clone()];
                for at in (0..row.len()).step_by(COLUMNS) {
                    round_line::<S>(&row[at..], to.add(i * stride + at / 2).cast());
                }
            }
            return;
        }
        for left in columns.clone().step_by(COLUMNS) {
            let lines = a.values[left * a.col..].as_ptr();
            let count = (columns.end - left).min(COLUMNS);
            let to = to.add((left - columns.start) / 2);
            for top in (0..block.rows.len()).step_by(LANES) {
                let height = (block.rows.len() - top).min(LANES);
                let from = lines.add(block.rows.start + top);
                turn::<S>(from, a.col, [count, height], to.add(top * stride), stride);
            }
        }
    }
}

/// Writes up to 32 columns of up to sixteen neighbours, `from_stride` elements apart, as rows of sixteen words.
///
/// # Safety
/// The processor has the instructions of `S`, and there are such columns and rows.
#[inline(always)]
unsafe fn turn<S: Simd>(
    from: *const f32,
    from_stride: usize,
    [count, height]: [usize; 2],
    to: *mut f32,
    stride: usize,
) {
    // Pairs of neighbours in a row, sixteen rows side by side; then row by row.
    let mut pairs = [[0.0_f32; LANES]; LANES];
    // SAFETY: by the contract of this function; a vector that is not whole is read from, or met in, memory of its own.
    unsafe {
        for i in 0..LANES {
            let mut both = [S::splat(0.0); 2];
            for j in 0..2 {
                if 2 * i + j < count {
                    let mut at = from.add((2 * i + j) * from_stride);
                    let mut rest = [0.0_f32; LANES];
                    if height < LANES {
                        std::ptr::copy_nonoverlapping(at, rest.as_mut_ptr(), height);
                        at = rest.as_ptr();
                    }
                    both[j] = S::round_bf16(S::load(at));
                }
            }
            S::store_bf16_pairs(pairs[i].as_mut_ptr().cast(), both[0], both[1]);
        }
        if height == LANES {
            return S::transpose(pairs[0].as_ptr(), LANES, to, stride);
        }
        let mut turned = [[0.0_f32; LANES]; LANES];
        S::transpose(pairs[0].as_ptr(), LANES, turned[0].as_mut_ptr(), LANES);
        for row in 0..height {
            std::ptr::copy_nonoverlapping(turned[row].as_ptr(), to.add(row * stride), LANES);
        }
    }
}
