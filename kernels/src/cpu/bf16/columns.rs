//! The right side of a product in bf16: pairs of neighbouring rows, column by column.

use std::marker::PhantomData;
use std::ops::Range;

use super::Line;
use crate::cpu::matmul::bytes;
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::stored::{Bf16, Element, F32};
use crate::cpu::{Cpu, Parts, filled};

/// The vectors of a panel.
pub(crate) const VECTORS: usize = 4;

/// The pairs of rows of a task.
const STEP: usize = 32;

/// A matrix `[k, n]` in bf16 as the right side of a product: the nearest numbers, ties to even.
///
/// Panels of 64 columns lie one behind the other, the last one narrower, filled up with zeros to whole vectors. In a
/// panel a pair of rows follows the other, and the two elements of a column are neighbours; an odd last row is paired
/// with zeros.
///
/// ```
/// use latent_kernels::cpu::{Bf16Columns, Cpu};
/// let columns = Bf16Columns::new(&Cpu::new(), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
/// assert_eq!((columns.rows(), columns.cols()), (3, 2));
/// ```
#[derive(Debug)]
pub struct Bf16Columns {
    /// Sixteen pairs each.
    lines: Vec<Line>,
    rows: usize,
    cols: usize,
}

impl Bf16Columns {
    /// Rounds rows of `cols` elements, one behind the other, with all threads.
    ///
    /// # Panics
    /// When the rows are not whole.
    #[must_use]
    pub fn new(cpu: &Cpu, values: &[f32], cols: usize) -> Self {
        Self::packed::<F32>(cpu, bytes(values), cols)
    }

    /// The same of rows that are stored in bf16.
    pub(crate) fn of_bf16(cpu: &Cpu, values: &[u8], cols: usize) -> Self {
        Self::packed::<Bf16>(cpu, values, cols)
    }

    fn packed<E: Element>(cpu: &Cpu, values: &[u8], cols: usize) -> Self {
        let rows = values.len() / (cols * E::BYTES).max(1);
        assert!(values.len() == rows * cols * E::BYTES, "whole rows");
        let (pairs, vectors) = (rows.div_ceil(2), cols.div_ceil(LANES));
        let run = |lines: &Parts<'_, Line>| {
            cpu.pool().run(pairs.div_ceil(STEP), &|task| {
                let pairs = task * STEP..pairs.min((task + 1) * STEP);
                let element = PhantomData::<E>;
                cpu.isa().run(Pack { values, rows, cols, pairs, lines, element });
            });
        };
        // SAFETY: tasks write every vector of every pair.
        let lines = unsafe { filled(pairs * vectors, run) };
        Self { lines, rows, cols }
    }

    /// The rows, which a product adds up.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The pairs of rows.
    pub(crate) fn pairs(&self) -> usize {
        self.rows.div_ceil(2)
    }

    /// Where the panel that begins with column `first` has its pairs, so many vectors each, one behind the other.
    ///
    /// # Panics
    /// When no panel begins there.
    #[inline(always)]
    pub(crate) fn panel(&self, first: usize) -> (*const u8, usize) {
        assert!(first < self.cols && first.is_multiple_of(VECTORS * LANES), "the first of a panel");
        let vectors = (self.cols - first).div_ceil(LANES).min(VECTORS);
        let lines = &self.lines[first / LANES * self.pairs()..][..vectors * self.pairs()];
        (lines.as_ptr().cast(), vectors)
    }
}

/// Some pairs of rows.
struct Pack<'a, E> {
    values: &'a [u8],
    rows: usize,
    cols: usize,
    pairs: Range<usize>,
    lines: &'a Parts<'a, Line>,
    element: PhantomData<E>,
}

impl<E: Element> Kernel for Pack<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (pairs, vectors) = (self.rows.div_ceil(2), self.cols.div_ceil(LANES));
        for pair in self.pairs.clone() {
            for panel in (0..vectors).step_by(VECTORS) {
                let across = (vectors - panel).min(VECTORS);
                let at = panel * pairs + pair * across;
                // SAFETY: the processor has the set by the contract of the trait; a line is a vector of pairs, and
                // belongs to one task.
                unsafe {
                    let lines = self.lines.part(at..at + across);
                    for i in 0..across {
                        let first = self.rounded::<S>(2 * pair, panel + i);
                        let second = self.rounded::<S>(2 * pair + 1, panel + i);
                        S::store_bf16_pairs(lines[i].0.as_mut_ptr().cast(), first, second);
                    }
                }
            }
        }
    }
}

impl<E: Element> Pack<'_, E> {
    /// Sixteen neighbours of a row, rounded; zeros where there are fewer, or no such row.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    unsafe fn rounded<S: Simd>(&self, row: usize, vector: usize) -> S::V {
        let left = (self.cols - vector * LANES).min(LANES);
        // SAFETY: by the contract of this function; the slice has as many elements as are read.
        unsafe {
            if row >= self.rows {
                return S::splat(0.0);
            }
            let at = (row * self.cols + vector * LANES) * E::BYTES;
            let from = self.values[at..][..left * E::BYTES].as_ptr();
            let v = if left == LANES { E::load::<S>(from) } else { E::load_first::<S>(from, left) };
            if E::BYTES == 2 { v } else { S::round_bf16(v) }
        }
    }
}
