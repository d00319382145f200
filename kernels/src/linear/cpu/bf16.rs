//! Products in bf16: activations are rounded when they meet weights that are stored in bf16, and sums are `f32`.
//!
//! Lane `l` of sixteen adds up elements `2l + 1` and `2l` of each 32 columns, in this order, with one rounding
//! each; then the lanes are added, halves first. One row or thousands, and any set but tiles and the portable
//! one, give the same bits.

use std::cell::Cell;
use std::ops::Range;

use super::WIDE;
use super::wide::{GROUP, PANEL, totals};
use crate::cpu::bf16::{Bf16Rows, COLUMNS};
use crate::cpu::pairs::{PairKernel, Pairs};
use crate::cpu::simd::{LANES, Simd};
use crate::cpu::stored::{Bf16, Stored};
use crate::cpu::{Cpu, Rows};
use crate::{Dtype, Weight};

/// The bytes of 32 columns.
const LINE: usize = 2 * COLUMNS;

/// The lines of a sum that are added up before the next outputs come, where there are many rows: those of
/// the rows and the outputs of a tile leave room for each other in the first cache.
const DEPTH: usize = 64;

thread_local! {
    /// Sums that wait for the rest of their terms.
    static SUMS: Cell<Rows> = Cell::default();
}

/// Whether products with `w` are computed in bf16 where that is asked for.
pub(crate) fn takes(w: &Weight) -> bool {
    w.dtype() == Dtype::Bf16 && w.scale().is_none()
}

/// See [`CpuMatrix::product`](crate::cpu::CpuMatrix::product).
pub(crate) fn product(
    cpu: &Cpu,
    x: &Bf16Rows,
    rows: Range<usize>,
    w: &Weight,
    outputs: Range<usize>,
    emit: impl FnMut(usize, usize, &[f32]),
) {
    assert!(rows.end <= x.len() && outputs.end <= w.rows(), "rows and outputs");
    assert!(x.width() == w.cols(), "width of x");
    let w = Stored { bytes: w.bytes().as_slice(), cols: w.cols(), scales: None };
    match (cpu.tiles(), x.split()) {
        (Some(tiles), Some(x)) => {
            tiles.run(cpu.isa(), super::tiled::Tiled { x, rows, w, outputs, emit });
        }
        _ => cpu.isa().run_on_pairs(Product { x, rows, w, outputs, emit }),
    }
}

/// A task.
struct Product<'a, F> {
    x: &'a Bf16Rows,
    rows: Range<usize>,
    w: Stored<'a>,
    outputs: Range<usize>,
    emit: F,
}

impl<F: FnMut(usize, usize, &[f32])> PairKernel for Product<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, P: Pairs<S>>(mut self) {
        let mut memory = SUMS.take();
        let sums = memory.room(GROUP * P::ROWS * LANES);
        let mut first = self.outputs.start;
        while first < self.outputs.end {
            let panel = first..self.outputs.end.min(first + PANEL);
            let mut row = self.rows.start;
            while row < self.rows.end {
                // SAFETY: by the contract of the trait, and there is room for the sums of a group.
                row += unsafe {
                    match self.rows.end - row {
                        6.. if P::ROWS >= 6 => self.panel::<S, P, 6>(row, panel.clone(), sums),
                        3.. if P::ROWS >= 3 => self.panel::<S, P, 3>(row, panel.clone(), sums),
                        2.. if P::ROWS >= 2 => self.panel::<S, P, 2>(row, panel.clone(), sums),
                        _ => self.panel::<S, P, 1>(row, panel.clone(), sums),
                    }
                };
            }
            first = panel.end;
        }
        SUMS.set(memory);
    }
}

impl<F: FnMut(usize, usize, &[f32])> Product<'_, F> {
    /// `R` rows from `row` on with a panel of outputs.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `P`, and there is room for the sums of a group, here
    /// and in all that follows.
    #[inline(always)]
    unsafe fn panel<S: Simd, P: Pairs<S>, const R: usize>(
        &mut self,
        row: usize,
        panel: Range<usize>,
        sums: *mut f32,
    ) -> usize {
        let lines = self.w.cols.div_ceil(COLUMNS);
        let depth = if self.rows.len() < WIDE { lines.max(1) } else { DEPTH };
        let mut first = panel.start;
        while first < panel.end {
            let outputs = (panel.end - first).min(GROUP);
            let mut from = 0;
            while from < lines {
                let to = lines.min(from + depth);
                let mut output = 0;
                while output < outputs {
                    // SAFETY: by the contract of this function.
                    output += unsafe {
                        let sums = sums.add(output * R * LANES);
                        match outputs - output {
                            4.. => self.tile::<S, P, R, 4>(row, first + output, from..to, sums),
                            _ => self.tile::<S, P, R, 1>(row, first + output, from..to, sums),
                        }
                    };
                }
                from = to;
            }
            // SAFETY: the sums of every output were made.
            let of_rows = unsafe { totals::<S, R>(sums, outputs) };
            for r in 0..R {
                (self.emit)(row + r, first, &of_rows[r][..outputs]);
            }
            first += outputs;
        }
        R
    }

    /// Adds the terms of some lines to the sums of `R` rows and `C` outputs.
    #[inline(always)]
    unsafe fn tile<S: Simd, P: Pairs<S>, const R: usize, const C: usize>(
        &mut self,
        row: usize,
        output: usize,
        lines: Range<usize>,
        sums: *mut f32,
    ) -> usize {
        let (x, stride) = self.x.lines(row..row + R);
        let weights = self.w.rows_of::<Bf16>(output, C).as_ptr();
        let (width, whole) = (2 * self.w.cols, self.w.cols / COLUMNS);
        let streamed = self.rows.len() < WIDE;
        // SAFETY: by the contract of `panel`; rows of `x` are whole lines, and those of the weights as many
        // as are whole, and a rest.
        unsafe {
            let mut open = [[S::splat(0.0); C]; R];
            if lines.start > 0 {
                for c in 0..C {
                    for r in 0..R {
                        open[r][c] = S::load(sums.add((c * R + r) * LANES));
                    }
                }
            }
            for at in lines.start..lines.end.min(whole) {
                let mut w = [P::load(weights.add(at * LINE)); C];
                for c in 0..C {
                    w[c] = P::load(weights.add(c * width + at * LINE));
                    if streamed {
                        // The next tile's weights, from front to back while these are used.
                        S::prefetch_far(weights.wrapping_add(C * width + (at * C + c) * LINE));
                    }
                }
                add::<S, P, R, C>(x.add(at * LINE), stride, &w, &mut open);
            }
            if lines.end > whole {
                let mut rest = [[0_u8; LINE]; C];
                let bytes = width - whole * LINE;
                let mut w = [P::load(rest[0].as_ptr()); C];
                for c in 0..C {
                    let from = weights.add(c * width + whole * LINE);
                    std::ptr::copy_nonoverlapping(from, rest[c].as_mut_ptr(), bytes);
                    w[c] = P::load(rest[c].as_ptr());
                }
                add::<S, P, R, C>(x.add(whole * LINE), stride, &w, &mut open);
            }
            for c in 0..C {
                for r in 0..R {
                    S::store(sums.add((c * R + r) * LANES), open[r][c]);
                }
            }
        }
        C
    }
}

/// Adds the products of a line of each of `R` rows, `stride` bytes apart, with `C` lines of weights.
///
/// # Safety
/// The processor has the instructions of `S` and `P`, and the rows have such a line.
#[inline(always)]
unsafe fn add<S: Simd, P: Pairs<S>, const R: usize, const C: usize>(
    x: *const u8,
    stride: usize,
    w: &[P::P; C],
    sums: &mut [[S::V; C]; R],
) {
    for r in 0..R {
        // SAFETY: by the contract of this function.
        unsafe {
            let x = P::load(x.add(r * stride));
            for c in 0..C {
                sums[r][c] = P::add(sums[r][c], x, w[c]);
            }
        }
    }
}
