//! Few rows: weights are streamed, and widened on the way.

use super::Product;
use crate::cpu::simd::{LANES, Simd};
use crate::cpu::stored::Element;

impl<E: Element, const SCALED: bool> Product<'_, E, SCALED> {
    /// The whole task.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, here and in all that follows.
    #[inline(always)]
    pub(super) unsafe fn thin<S: Simd>(&mut self) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            // SAFETY: by the contract of this function.
            row += unsafe {
                match self.rows.end - row {
                    4.. => self.all_outputs::<S, 4>(row),
                    2.. => self.all_outputs::<S, 2>(row),
                    _ => self.all_outputs::<S, 1>(row),
                }
            };
        }
    }

    /// `R` rows from `row` on with all outputs.
    #[inline(always)]
    unsafe fn all_outputs<S: Simd, const R: usize>(&mut self, row: usize) -> usize {
        let mut output = self.outputs.start;
        while output < self.outputs.end {
            // SAFETY: by the contract of `thin`.
            output += unsafe {
                if self.outputs.end - output >= 4 {
                    self.tile::<S, R, 4>(row, output)
                } else {
                    self.tile::<S, R, 1>(row, output)
                }
            };
        }
        R
    }

    /// The sums of `R` rows and `C` outputs, whose weights are widened on the way.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize>(
        &mut self,
        row: usize,
        output: usize,
    ) -> usize {
        let mut x = [std::ptr::null(); R];
        for r in 0..R {
            x[r] = self.x.row(row + r).as_ptr();
        }
        let (mut w, mut scales) = ([std::ptr::null(); C], [&[][..]; C]);
        for c in 0..C {
            w[c] = self.w.row::<E>(output + c);
            scales[c] = self.w.scales_of(output + c);
        }
        // The next tile's weights, asked for from front to back while these are used: memory is faster
        // when its reads follow each other than in `C` streams.
        let ahead = C * self.w.cols * E::BYTES;
        let (whole, rest) = (self.w.cols / LANES, self.w.cols % LANES);
        let per_scale = if SCALED { self.w.vectors_per_scale() } else { whole.max(1) };
        // SAFETY: rows of `x` hold whole vectors, and rows of `w` as many as are whole, and a rest.
        unsafe {
            let mut sums = [[S::splat(0.0); C]; R];
            let mut weights = [S::splat(1.0); C];
            let mut scale = weights;
            let (mut at, mut block) = (0, 0);
            while at < whole {
                if SCALED {
                    for c in 0..C {
                        scale[c] = S::splat(scales[c][block] * E::UNIT);
                    }
                    block += 1;
                }
                let end = whole.min(at.saturating_add(per_scale));
                while at + 2 <= end {
                    let mut next = weights;
                    for c in 0..C {
                        let line = (at * C + 2 * c) * LANES * E::BYTES;
                        S::prefetch_far(w[0].wrapping_add(ahead + line));
                        let [a, b] = E::load_two::<S>(w[c].add(at * LANES * E::BYTES));
                        weights[c] = if SCALED { S::mul(a, scale[c]) } else { a };
                        next[c] = if SCALED { S::mul(b, scale[c]) } else { b };
                    }
                    add_vectors::<S, R, C>(&x, at, &weights, &mut sums);
                    add_vectors::<S, R, C>(&x, at + 1, &next, &mut sums);
                    at += 2;
                }
                while at < end {
                    for c in 0..C {
                        let v = E::load::<S>(w[c].add(at * LANES * E::BYTES));
                        weights[c] = if SCALED { S::mul(v, scale[c]) } else { v };
                    }
                    add_vectors::<S, R, C>(&x, at, &weights, &mut sums);
                    at += 1;
                }
            }
            if rest > 0 {
                for c in 0..C {
                    let v = E::load_first::<S>(w[c].add(whole * LANES * E::BYTES), rest);
                    let block = if SCALED { whole / per_scale } else { 0 };
                    weights[c] =
                        if SCALED { S::mul(v, S::splat(scales[c][block] * E::UNIT)) } else { v };
                }
                add_vectors::<S, R, C>(&x, whole, &weights, &mut sums);
            }
            for r in 0..R {
                let mut of_row = [0.0; C];
                for c in 0..C {
                    of_row[c] = S::sum(sums[r][c]);
                }
                (self.emit)(row + r, output, &of_row);
            }
        }
        C
    }
}

/// Adds vector `at` of each row of `x` times the weights to the sums: a step of a tile of dot products.
///
/// # Safety
/// The processor has the instructions of `S`, and the rows have such a vector.
#[inline(always)]
unsafe fn add_vectors<S: Simd, const R: usize, const C: usize>(
    x: &[*const f32; R],
    at: usize,
    weights: &[S::V; C],
    sums: &mut [[S::V; C]; R],
) {
    for r in 0..R {
        // SAFETY: by the contract of this function.
        unsafe {
            let x = S::load(x[r].add(at * LANES));
            for c in 0..C {
                sums[r][c] = S::fma(x, weights[c], sums[r][c]);
            }
        }
    }
}
