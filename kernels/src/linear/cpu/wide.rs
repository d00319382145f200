//! Many rows: weights are widened once, a panel of outputs at a time, and each row meets all of them.

use std::cell::Cell;

use super::Product;
use crate::cpu::Rows;
use crate::cpu::simd::{LANES, Register, Simd, add_products};
use crate::cpu::stored::Element;

/// The outputs whose weights are widened at once: they stay in the second cache.
pub(super) const PANEL: usize = 128;

/// The outputs whose sums are open at once: they stay in the first.
pub(super) const GROUP: usize = 32;

/// Outputs whose widened weights lie interleaved, vector by vector.
const WOVEN: usize = 4;

/// The vectors of a sum that are added up before the next outputs come: what those of the rows of a tile
/// leave room for in the first cache.
const DEPTH: usize = 64;

thread_local! {
    /// A panel of widened weights, and sums that wait for the rest of their terms.
    static SCRATCH: Cell<(Rows, Rows)> = Cell::default();
}

/// Widened weights, `[outputs / WOVEN, vector, WOVEN, lane]`, and open sums, `[row, GROUP, lane]`.
#[derive(Clone, Copy)]
struct Scratch {
    weights: *mut f32,
    sums: *mut f32,
}

impl<E: Element, const SCALED: bool> Product<'_, E, SCALED> {
    /// The whole task.
    ///
    /// # Safety
    /// The processor has the instructions of `S`, here and in all that follows.
    #[inline(always)]
    pub(super) unsafe fn wide<S: Simd>(&mut self) {
        let mut memory = SCRATCH.take();
        let scratch = Scratch {
            weights: memory.0.room(PANEL * self.vectors() * LANES),
            sums: memory.1.room(GROUP * S::Register::ROWS * LANES),
        };
        let mut first = self.outputs.start;
        while first < self.outputs.end {
            let outputs = (self.outputs.end - first).min(PANEL);
            // SAFETY: by the contract of this function; the panel has room for as many outputs.
            unsafe {
                for i in 0..outputs {
                    let woven = i / WOVEN * WOVEN * self.vectors() + i % WOVEN;
                    self.widen::<S>(first + i, scratch.weights.add(woven * LANES));
                }
                let mut row = self.rows.start;
                while row < self.rows.end {
                    row += match self.rows.end - row {
                        6.. if S::Register::ROWS >= 6 => {
                            self.panel::<S, 6>(row, first, outputs, scratch)
                        }
                        3.. if S::Register::ROWS >= 3 => {
                            self.panel::<S, 3>(row, first, outputs, scratch)
                        }
                        2.. => self.panel::<S, 2>(row, first, outputs, scratch),
                        _ => self.panel::<S, 1>(row, first, outputs, scratch),
                    };
                }
            }
            first += outputs;
        }
        SCRATCH.set(memory);
    }

    /// The vectors of a row.
    fn vectors(&self) -> usize {
        self.w.cols.div_ceil(LANES)
    }

    /// Widens and scales the weights of an output, zeros behind them; `to` has room for every vector,
    /// [`WOVEN`] apart.
    #[inline(always)]
    unsafe fn widen<S: Simd>(&self, output: usize, to: *mut f32) {
        let (from, scales) = (self.w.row::<E>(output), self.w.scales_of(output));
        let per_scale = if SCALED { self.w.vectors_per_scale() } else { usize::MAX };
        for at in 0..self.vectors() {
            let n = (self.w.cols - at * LANES).min(LANES);
            // SAFETY: the row has `n` elements there, and `to` a vector.
            unsafe {
                let from = from.add(at * LANES * E::BYTES);
                let v = if n == LANES { E::load::<S>(from) } else { E::load_first::<S>(from, n) };
                let scale = S::splat(scales[at / per_scale] * E::UNIT);
                S::store(to.add(at * WOVEN * LANES), if SCALED { S::mul(v, scale) } else { v });
            }
        }
    }

    /// `R` rows from `row` on with a panel of outputs, the first of which is `first`.
    #[inline(always)]
    unsafe fn panel<S: Simd, const R: usize>(
        &mut self,
        row: usize,
        first: usize,
        outputs: usize,
        scratch: Scratch,
    ) -> usize {
        let mut done = 0;
        while done < outputs {
            let group = (outputs - done).min(GROUP);
            // SAFETY: by the contract of `wide`; the panel has the outputs of the group.
            unsafe {
                let weights = scratch.weights.add(done * self.vectors() * LANES);
                self.group::<S, R>(row, first + done, group, Scratch { weights, ..scratch });
            }
            done += group;
        }
        R
    }

    /// `R` rows with a group of outputs, whose weights `scratch` begins with.
    #[inline(always)]
    unsafe fn group<S: Simd, const R: usize>(
        &mut self,
        row: usize,
        first: usize,
        outputs: usize,
        scratch: Scratch,
    ) {
        let mut from = 0;
        while from < self.vectors() {
            let to = self.vectors().min(from + DEPTH);
            let mut output = 0;
            while output < outputs {
                // SAFETY: by the contract of `wide`; the scratch has the weights and sums of `output`.
                output += unsafe {
                    match outputs - output {
                        4.. => self.add_terms::<S, R, 4>(row, output, from, to, scratch),
                        2.. => self.add_terms::<S, R, 2>(row, output, from, to, scratch),
                        _ => self.add_terms::<S, R, 1>(row, output, from, to, scratch),
                    }
                };
            }
            from = to;
        }
        // SAFETY: the sums of every output were made.
        let of_rows = unsafe { totals::<S, R>(scratch.sums, outputs) };
        for r in 0..R {
            (self.emit)(row + r, first, &of_rows[r][..outputs]);
        }
    }

    /// Adds the terms of vectors `from` to `to` to the sums of `R` rows and `C` outputs.
    #[inline(always)]
    unsafe fn add_terms<S: Simd, const R: usize, const C: usize>(
        &mut self,
        row: usize,
        output: usize,
        from: usize,
        to: usize,
        scratch: Scratch,
    ) -> usize {
        let mut x = [std::ptr::null(); R];
        for r in 0..R {
            x[r] = self.x.row(row + r).as_ptr();
        }
        let woven = output / WOVEN * WOVEN * self.vectors() + output % WOVEN;
        for lane in (0..LANES).step_by(S::Register::WIDTH) {
            // SAFETY: the scratch has the weights and sums of these outputs, and rows of `x` the vectors.
            unsafe {
                let weights = scratch.weights.add(woven * LANES + lane);
                let sums = scratch.sums.add(output * LANES + lane);
                let mut w = [std::ptr::null(); C];
                for c in 0..C {
                    w[c] = weights.add(c * LANES).cast_const();
                }
                let mut open = [[S::Register::splat(0.0); C]; R];
                if from > 0 {
                    for c in 0..C {
                        for r in 0..R {
                            open[r][c] = S::Register::load(sums.add((r * GROUP + c) * LANES));
                        }
                    }
                }
                for at in from..to {
                    let mut terms = [S::Register::splat(0.0); R];
                    for r in 0..R {
                        terms[r] = S::Register::load(x[r].add(at * LANES + lane));
                    }
                    add_products(&terms, &w, at * WOVEN * LANES, &mut open);
                }
                for c in 0..C {
                    for r in 0..R {
                        open[r][c].store(sums.add((r * GROUP + c) * LANES));
                    }
                }
            }
        }
        C
    }
}

/// The sums of the lanes of open sums, `[row, GROUP, lane]`, for each row.
///
/// # Safety
/// The processor has the instructions of `S`, and there are the sums of so many outputs, at most [`GROUP`],
/// in memory for all of them.
#[inline(always)]
pub(super) unsafe fn totals<S: Simd, const R: usize>(
    sums: *const f32,
    outputs: usize,
) -> [[f32; GROUP]; R] {
    let mut of_rows = [[0.0; GROUP]; R];
    for r in 0..R {
        for output in (0..outputs).step_by(LANES) {
            // SAFETY: by the contract of this function; what lies behind the last output is summed for nothing.
            unsafe {
                let of_outputs = S::sums(sums.add((r * GROUP + output) * LANES));
                S::store(of_rows[r][output..].as_mut_ptr(), of_outputs);
            }
        }
    }
    of_rows
}
