//! Activations as sums of three bf16, or rounded to one, laid out for tiles.
//!
//! A `f32` has 24 bits and a bf16 has 8: cut off at the top, three of them are the number itself. What is not
//! finite is its own first part, with zeros behind it. Tiles take parts below the normal numbers as zeros:
//! what that drops of an activation is below 2^-126.

use std::ops::Range;

use super::bf16::{COLUMNS, round_line};
use super::simd::{Kernel, Simd};
use super::tiles::TILE_ROWS;
use super::{Cpu, Parts, Rows, filled};
use crate::Weight;
use crate::linear::cpu::tiles_for;

/// The parts of a number.
pub(crate) const PARTS: usize = 3;

/// Rows of activations in one or in three parts.
#[derive(Debug)]
pub(crate) struct Split {
    /// Block after block: `[column / 32, part, pair of columns, row of the block]`, zeros behind the last column and
    /// the last row.
    words: Vec<u32>,
    /// From the first row to the last.
    places: Vec<Place>,
    parts: usize,
}

/// Where a block lies.
#[derive(Debug)]
struct Place {
    rows: Range<usize>,
    /// The rows that it has room for.
    width: usize,
    words: Range<usize>,
}

/// Up to sixteen rows, to be read.
#[derive(Debug)]
pub(crate) struct Block<'a> {
    pub(crate) rows: Range<usize>,
    /// The words from one pair of columns to the next: sixteen, but of a block that is alone, as many as it has rows.
    pub(crate) width: usize,
    pub(crate) words: &'a [u32],
}

impl Split {
    /// Splits some rows into [`PARTS`], with all threads.
    pub(crate) fn new(cpu: &Cpu, x: &Rows, rows: Range<usize>) -> Self {
        let slices: Vec<&[f32]> = rows.clone().map(|row| &x.row(row)[..x.width()]).collect();
        Self::into_parts::<PARTS>(cpu, x.width(), &slices, rows.start, &[])
    }

    /// Rounds rows of `cols` elements to the nearest bf16: one part. No block reaches over one of `bounds`, which
    /// ascend: rows where others begin that meet other weights.
    pub(crate) fn rounded(cpu: &Cpu, cols: usize, rows: &[&[f32]], bounds: &[usize]) -> Self {
        Self::into_parts::<1>(cpu, cols, rows, 0, bounds)
    }

    /// The first of `rows` is called `first`.
    fn into_parts<const N: usize>(
        cpu: &Cpu,
        cols: usize,
        rows: &[&[f32]],
        first: usize,
        bounds: &[usize],
    ) -> Self {
        let of_row = cols.div_ceil(COLUMNS) * N * COLUMNS / 2;
        let mut places: Vec<Place> = Vec::new();
        let mut start = 0;
        for &end in bounds.iter().filter(|&&bound| bound > 0).chain(&[rows.len()]) {
            let width = (end - start).min(TILE_ROWS);
            while start < end {
                let of_block = start..end.min(start + TILE_ROWS);
                let at = places.last().map_or(0, |place| place.words.end);
                start = of_block.end;
                places.push(Place { rows: of_block, width, words: at..at + width * of_row });
            }
        }
        let split = |parts: &Parts<'_, u32>, block: usize| {
            let Place { rows: of_block, width, words } = &places[block];
            let rows = &rows[of_block.clone()];
            assert!(rows.iter().all(|row| row.len() == cols), "the width of a row");
            // SAFETY: each block belongs to one task.
            let words = unsafe { parts.part(words.clone()) };
            cpu.isa().run(SplitBlock::<N> { rows, width: *width, words });
        };
        let len = places.last().map_or(0, |place| place.words.end);
        // SAFETY: a block writes all of its words.
        let words = unsafe {
            filled(len, |parts| cpu.pool().run(places.len(), &|block| split(parts, block)))
        };
        for place in &mut places {
            place.rows = first + place.rows.start..first + place.rows.end;
        }
        Self { words, places, parts: N }
    }

    /// The parts of each activation.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    /// The parts of `x` where it has them.
    pub(crate) fn of(x: &Rows) -> Option<&Self> {
        x.split.as_ref()
    }

    /// The blocks that hold these rows, each with its parts.
    ///
    /// # Panics
    /// When there are no such rows.
    pub(crate) fn blocks(&self, rows: Range<usize>) -> Vec<Block<'_>> {
        let first = self.places.partition_point(|place| place.rows.end <= rows.start);
        let blocks: Vec<Block<'_>> = self.places[first..]
            .iter()
            .take_while(|place| place.rows.start < rows.end)
            .map(|place| Block {
                rows: place.rows.clone(),
                width: place.width,
                words: &self.words[place.words.clone()],
            })
            .collect();
        let [from, to] = [blocks.first(), blocks.last()].map(|block| block.map(|b| &b.rows));
        let held =
            from.is_some_and(|b| b.start <= rows.start) && to.is_some_and(|b| b.end >= rows.end);
        assert!(held || rows.is_empty(), "rows that were split");
        blocks
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
    rows: &'a [&'a [f32]],
    width: usize,
    words: &'a mut [u32],
}

impl<const N: usize> Kernel for SplitBlock<'_, N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rows, width, words } = self;
        // The words of a row: pairs of neighbouring columns, of each part.
        let mut of_rows = [[[0_u32; COLUMNS / 2]; TILE_ROWS]; N];
        for (at, to) in words.chunks_exact_mut(N * COLUMNS / 2 * width).enumerate() {
            for r in 0..rows.len() {
                let here = &rows[r][at * COLUMNS..];
                if N == 1 {
                    // SAFETY: by the contract of the trait; sixteen words are a line.
                    unsafe { round_line::<S>(here, of_rows[0][r].as_mut_ptr().cast()) };
                    continue;
                }
                let mut values = [0.0; COLUMNS];
                match here.first_chunk() {
                    Some(whole) => values = *whole,
                    None => values[..here.len()].copy_from_slice(here),
                }
                let mut parts = [[0; COLUMNS]; N];
                for i in 0..COLUMNS {
                    let of_value = parts_of(values[i]);
                    for part in 0..N {
                        parts[part][i] = of_value[part];
                    }
                }
                for part in 0..N {
                    for pair in 0..COLUMNS / 2 {
                        let [even, odd] = [parts[part][2 * pair], parts[part][2 * pair + 1]];
                        of_rows[part][r][pair] = even >> 16 | odd & HIGH;
                    }
                }
            }
            for part in 0..N {
                let to = &mut to[part * COLUMNS / 2 * width..][..COLUMNS / 2 * width];
                if width == TILE_ROWS {
                    let from = of_rows[part].as_ptr().cast::<f32>();
                    // SAFETY: by the contract of the trait; both are sixteen rows of sixteen words.
                    unsafe { S::transpose(from, COLUMNS / 2, to.as_mut_ptr().cast(), width) };
                } else {
                    for (r, of_row) in of_rows[part][..rows.len()].iter().enumerate() {
                        for (pair, &word) in of_row.iter().enumerate() {
                            to[pair * width + r] = word;
                        }
                    }
                }
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
