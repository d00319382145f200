//! Values, pairs of keys interleaved: the columns of products with weights.

use latent_kernels::cpu::{Kernel, LANES, Simd};

use super::super::blocks::SPLIT;
use super::lines::{LINE, Line, WIDTH, room};
use super::product::{OPEN, Operand};
use super::rows::Bf16Rows;

/// The pairs of keys of a split.
const PAIRS: usize = SPLIT / 2;

/// The values of a split.
#[derive(Debug, Default, Clone)]
pub(super) struct Values {
    /// `[element / 16, pair of keys, element % 16]`; zeros where there is no key, up to a multiple of
    /// [`WIDTH`] keys.
    lines: Vec<Line>,
    width: usize,
}

impl Values {
    /// Makes room for values of `width` elements.
    pub(super) fn resize(&mut self, width: usize) {
        self.width = width;
        let lines = self.panels() * PAIRS;
        room(&mut self.lines, lines);
    }

    /// Values of so many elements, filled up to as many as are summed at once.
    pub(super) fn padded(width: usize) -> usize {
        width.next_multiple_of(OPEN * LANES)
    }

    /// The sixteens of elements, filled up.
    pub(super) fn panels(&self) -> usize {
        Self::padded(self.width) / LANES
    }

    /// The columns from a panel on.
    pub(super) fn columns(&self, panel: usize) -> Operand {
        Operand {
            first: self.lines[panel * PAIRS..].as_ptr().cast(),
            row: LINE,
            tile: PAIRS * LINE,
            step: LANES * LINE,
        }
    }

    /// Whether the first `count` keys have no infinity and no NaN.
    pub(super) fn are_finite(&self, count: usize) -> bool {
        let mut panels = self.lines.chunks(PAIRS).take(self.width.div_ceil(LANES));
        let finite = |word: &u32| word & 0x7f80 != 0x7f80 && word & 0x7f80_0000 != 0x7f80_0000;
        panels.all(|pairs| pairs[..count.div_ceil(2)].iter().all(|line| line.0.iter().all(finite)))
    }

    /// The same values of the first `count` keys, and zeros.
    pub(super) fn of_first(&self, count: usize) -> Self {
        let mut first = self.clone();
        for pairs in first.lines.chunks_mut(PAIRS) {
            if count % 2 == 1 {
                pairs[count / 2].0.iter_mut().for_each(|word| *word &= 0xffff);
            }
            pairs[count.div_ceil(2)..].fill(Line::default());
        }
        first
    }
}

/// Interleaves values of neighbouring keys.
pub(super) struct Interleave<'a> {
    /// The values of each key.
    pub(super) rows: Bf16Rows,
    /// The keys that have any; there are zeros for the others up to `filled`, a multiple of 2.
    pub(super) count: usize,
    pub(super) filled: usize,
    /// The place of the first key in its split, a multiple of 2.
    pub(super) at: usize,
    pub(super) to: &'a mut Values,
}

impl Kernel for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Values { lines, width } = self.to;
        for panel in 0..width.div_ceil(LANES) {
            let elements = (*width - panel * LANES).min(LANES);
            let pairs = &mut lines[panel * PAIRS + self.at / 2..][..self.filled / 2];
            for pair in 0..pairs.len() {
                let mut rows = [[0_u16; LANES]; 2];
                for i in 0..2 {
                    if 2 * pair + i < self.count {
                        // SAFETY: the key has so many elements there.
                        unsafe {
                            let from = self.rows.first.add((2 * pair + i) * self.rows.row);
                            let from = from.add(panel * LANES * 2);
                            if elements == LANES {
                                rows[i] = from.cast::<[u16; LANES]>().read_unaligned();
                            } else {
                                let to = rows[i].as_mut_ptr().cast::<u8>();
                                to.copy_from_nonoverlapping(from, 2 * elements);
                            }
                        }
                    }
                }
                for l in 0..LANES {
                    pairs[pair].0[l] = u32::from(rows[0][l]) | u32::from(rows[1][l]) << 16;
                }
            }
        }
    }
}

const _: () = assert!(SPLIT.is_multiple_of(WIDTH), "a split is whole tiles");
