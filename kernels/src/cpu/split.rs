//! Activations as sums of three bf16, or rounded to one, laid out for tiles.
//!
//! A `f32` has 24 bits and a bf16 has 8: cut off at the top, three of them are the number itself. What is not
//! finite is its own first part, with zeros behind it. Tiles take parts below the normal numbers as zeros:
//! what that drops of an activation is below 2^-126.

use std::ops::Range;

use super::bf16::{COLUMNS, nearest};
use super::simd::{Kernel, Simd};
use super::tiles::TILE_ROWS;
use super::{Cpu, Parts, Rows};
use crate::Weight;
use crate::linear::cpu::tiles_for;

/// The parts of a number.
pub(crate) const PARTS: usize = 3;

/// Rows of activations in one or in three parts.
#[derive(Debug)]
pub(crate) struct Split {
    /// `[row / 16, column / 32, part, pair of columns, row % 16]`, the last rows without others behind them;
    /// zeros behind the last column.
    words: Vec<u32>,
    rows: Range<usize>,
    /// The blocks of columns.
    across: usize,
    parts: usize,
}

impl Split {
    /// Splits some rows into [`PARTS`], with all threads.
    pub(crate) fn new(cpu: &Cpu, x: &Rows, rows: Range<usize>) -> Self {
        Self::into_parts::<PARTS>(cpu, x, rows)
    }

    /// Rounds all rows to the nearest bf16: one part.
    pub(crate) fn rounded(cpu: &Cpu, x: &Rows) -> Self {
        Self::into_parts::<1>(cpu, x, 0..x.len())
    }

    fn into_parts<const N: usize>(cpu: &Cpu, x: &Rows, rows: Range<usize>) -> Self {
        let across = x.width().div_ceil(COLUMNS);
        let of_row = across * N * COLUMNS / 2;
        let mut words = vec![0; rows.len() * of_row];
        let parts = Parts::new(&mut words);
        cpu.pool().run(rows.len().div_ceil(TILE_ROWS), &|block| {
            let first = block * TILE_ROWS;
            let of_block = first..rows.len().min(first + TILE_ROWS);
            let at = of_block.start * of_row..of_block.end * of_row;
            let from = rows.start + of_block.start..rows.start + of_block.end;
            // SAFETY: each block belongs to one task.
            cpu.isa().run(SplitBlock::<N> { x, rows: from, words: unsafe { parts.part(at) } });
        });
        Self { words, rows, across, parts: N }
    }

    /// The parts of each activation.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    /// The parts of `x` where it has them.
    pub(crate) fn of(x: &Rows) -> Option<&Self> {
        x.split.as_ref()
    }

    /// The blocks of rows that hold these, each with its parts.
    pub(crate) fn blocks(
        &self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = (Range<usize>, &[u32])> {
        assert!(self.rows.start <= rows.start && rows.end <= self.rows.end, "rows that were split");
        let block = TILE_ROWS * self.across * self.parts * COLUMNS / 2;
        let first = (rows.start - self.rows.start) / TILE_ROWS;
        (first..(rows.end - self.rows.start).div_ceil(TILE_ROWS)).map(move |i| {
            let start = self.rows.start + i * TILE_ROWS;
            let of_block = start..self.rows.end.min(start + TILE_ROWS);
            (of_block, &self.words[i * block..self.words.len().min((i + 1) * block)])
        })
    }
}

impl Rows {
    /// The same rows with what products with `w` on this backend read beside them, made once by all
    /// threads: otherwise each task makes it for itself.
    ///
    /// ```
    /// use latent_kernels::cpu::{Cpu, Rows};
    /// use latent_kernels::{Dtype, Weight};
    /// let w = Weight::encode(Dtype::Bf16, [1, 2], &[10.0_f32, 1.0])?;
    /// let rows = Rows::pack(2, [&[1.0, 2.0][..]].into_iter()).prepared(&Cpu::new(), &w);
    /// assert_eq!(rows.row(0)[..2], [1.0, 2.0]);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    #[must_use]
    pub fn prepared(mut self, cpu: &Cpu, w: &Weight) -> Self {
        if tiles_for(cpu, w).is_some() && self.split.is_none() {
            self.split = Some(Split::new(cpu, &self, 0..self.len()));
        }
        self
    }
}

/// A block of rows, each number in `N` parts.
struct SplitBlock<'a, const N: usize> {
    x: &'a Rows,
    rows: Range<usize>,
    words: &'a mut [u32],
}

impl<const N: usize> Kernel for SplitBlock<'_, N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let n = self.rows.len();
        for r in 0..n {
            let row = &self.x.row(self.rows.start + r)[..self.x.width()];
            let mut at = 0;
            while at < row.len() {
                let mut values = [0.0; COLUMNS];
                let here = (row.len() - at).min(COLUMNS);
                values[..here].copy_from_slice(&row[at..at + here]);
                // The words of a row: pairs of neighbouring columns, of each part.
                let words = N * COLUMNS / 2;
                let to = &mut self.words[at / COLUMNS * words * n..][..words * n];
                let mut parts = [[0; COLUMNS]; N];
                for i in 0..COLUMNS {
                    let of_value = if N == 1 {
                        [u32::from(nearest(values[i])) << 16, 0, 0]
                    } else {
                        parts_of(values[i])
                    };
                    for part in 0..N {
                        parts[part][i] = of_value[part];
                    }
                }
                for part in 0..N {
                    for pair in 0..COLUMNS / 2 {
                        let [even, odd] = [parts[part][2 * pair], parts[part][2 * pair + 1]];
                        to[(part * COLUMNS / 2 + pair) * n + r] = even >> 16 | odd & HIGH;
                    }
                }
                at += COLUMNS;
            }
        }
    }
}

/// The bits of a `f32` that are those of a bf16.
const HIGH: u32 = 0xffff_0000;

/// The bits of three bf16, widened, whose sum is `v`.
#[inline(always)]
fn parts_of(v: f32) -> [u32; PARTS] {
    // A NaN may have its bits at the bottom.
    let high = if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() & HIGH };
    let rest = if v.is_finite() { v - f32::from_bits(high) } else { 0.0 };
    let middle = rest.to_bits() & HIGH;
    [high, middle, (rest - f32::from_bits(middle)).to_bits() & HIGH]
}

#[cfg(test)]
mod claims;
