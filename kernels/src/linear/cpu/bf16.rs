//! Products in bf16: activations are rounded when they meet weights that are stored in bf16 or in e4m3, and sums
//! are `f32`.
//!
//! Lane `l` of sixteen adds up elements `2l + 1` and `2l` of each 32 columns, in this order, with one rounding
//! each; then the lanes are added, halves first. Where blocks have scales, a lane's sum of a block is scaled and
//! added to those of the blocks before with one rounding. One row or thousands, and any set but tiles and the
//! portable one, give the same bits.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;

use super::wide::{GROUP, PANEL, totals};
use super::{Emit, WIDE};
use crate::cpu::bf16::{Bf16Rows, COLUMNS};
use crate::cpu::pairs::{PairKernel, Pairs};
use crate::cpu::simd::{LANES, Simd};
use crate::cpu::stored::Stored;
use crate::cpu::{Cpu, Rows};
use crate::{Dtype, Weight};

mod format;

use format::{Bf16Lines, E4m3Lines, Format, LINE, Lines, Widened};

/// The lines of a sum that are added up before the next outputs come, where there are many rows: those of
/// the rows and the outputs of a tile leave room for each other in the first cache.
const DEPTH: usize = 64;

/// The rows from which e4m3 is widened once for all of them: fewer leave registers for what widening takes.
const WIDENED: usize = 6;

thread_local! {
    /// Sums that wait for the rest of their terms, and a panel of widened weights.
    static SCRATCH: Cell<(Rows, Rows)> = Cell::default();
}

/// Whether products with `w` are computed in bf16 where that is asked for.
pub(crate) fn takes(w: &Weight) -> bool {
    match w.dtype() {
        Dtype::Bf16 => w.scale().is_none(),
        Dtype::F8E4m3 => Stored::of(w).is_some_and(|w| w.lines_per_scale().is_some()),
        _ => false,
    }
}

/// See [`CpuMatrix::product`](crate::cpu::CpuMatrix::product).
pub(crate) fn product(
    cpu: &Cpu,
    x: &Bf16Rows,
    rows: Range<usize>,
    w: &Weight,
    outputs: Range<usize>,
    emit: Emit<'_>,
) {
    assert!(rows.end <= x.len() && outputs.end <= w.rows(), "rows and outputs");
    assert!(x.width() == w.cols(), "width of x");
    let stored = Stored::of(w).expect("weights that are taken");
    macro_rules! run {
        ($format:ty) => {
            cpu.isa().run_on_pairs(Product {
                x,
                rows,
                w: stored,
                outputs,
                emit,
                format: PhantomData::<$format>,
            })
        };
    }
    if w.dtype() == Dtype::Bf16 { run!(Bf16Lines) } else { run!(E4m3Lines) }
}

/// A task, on weights of a format.
struct Product<'a, W> {
    x: &'a Bf16Rows,
    rows: Range<usize>,
    w: Stored<'a>,
    outputs: Range<usize>,
    emit: Emit<'a>,
    format: PhantomData<W>,
}

impl<W: Format> PairKernel for Product<'_, W> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, P: Pairs<S>>(mut self) {
        let mut memory = SCRATCH.take();
        let sums = memory.0.room(GROUP * P::ROWS * LANES);
        let widened = W::LINE < LINE && self.rows.len() >= WIDENED;
        let mut first = self.outputs.start;
        while first < self.outputs.end {
            let panel = first..self.outputs.end.min(first + PANEL);
            // SAFETY: by the contract of the trait, and there is room for the sums of a group.
            unsafe {
                if widened {
                    let lines = Lines::widened::<S, P>(&self.w, panel.clone(), &mut memory.1);
                    self.all_rows::<S, P, Widened>(lines, panel.clone(), sums);
                } else {
                    let lines = Lines::of::<W>(&self.w, panel.clone());
                    self.all_rows::<S, P, W>(lines, panel.clone(), sums);
                }
            }
            first = panel.end;
        }
        SCRATCH.set(memory);
    }
}

impl<W: Format> Product<'_, W> {
    /// All rows with a panel of outputs, whose weights are `lines`.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `P`, and there is room for the sums of a group, here
    /// and in all that follows.
    #[inline(always)]
    unsafe fn all_rows<S: Simd, P: Pairs<S>, L: Format>(
        &mut self,
        lines: Lines,
        panel: Range<usize>,
        sums: *mut f32,
    ) {
        let mut row = self.rows.start;
        while row < self.rows.end {
            // SAFETY: by the contract of this function.
            row += unsafe {
                match self.rows.end - row {
                    6.. if P::ROWS >= 6 => self.panel::<S, P, L, 6>(row, lines, &panel, sums),
                    3.. if P::ROWS >= 3 => self.panel::<S, P, L, 3>(row, lines, &panel, sums),
                    2.. if P::ROWS >= 2 => self.panel::<S, P, L, 2>(row, lines, &panel, sums),
                    _ => self.panel::<S, P, L, 1>(row, lines, &panel, sums),
                }
            };
        }
    }

    /// `R` rows from `row` on with a panel of outputs.
    #[inline(always)]
    unsafe fn panel<S: Simd, P: Pairs<S>, L: Format, const R: usize>(
        &mut self,
        row: usize,
        lines: Lines,
        panel: &Range<usize>,
        sums: *mut f32,
    ) -> usize {
        let across = self.w.cols.div_ceil(COLUMNS);
        let depth = if self.rows.len() < WIDE {
            across.max(1)
        } else if L::SCALED {
            // Blocks are added up as wholes.
            let of_block = self.w.lines_per_scale().unwrap_or(across).min(across).max(1);
            (DEPTH / of_block).max(1) * of_block
        } else {
            DEPTH
        };
        let mut first = panel.start;
        while first < panel.end {
            let outputs = (panel.end - first).min(GROUP);
            let mut from = 0;
            while from < across {
                let to = across.min(from + depth);
                let mut output = 0;
                while output < outputs {
                    // SAFETY: by the contract of `all_rows`; the lines are those of the panel.
                    output += unsafe {
                        let sums = sums.add(output * LANES);
                        let at = first + output;
                        let lines = lines.behind(at - panel.start);
                        match outputs - output {
                            4.. => self.tile::<S, P, L, R, 4>(row, at, lines, from..to, sums),
                            _ => self.tile::<S, P, L, R, 1>(row, at, lines, from..to, sums),
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

    /// Adds the terms of some of the lines to the sums of `R` rows and `C` outputs from `output` on, whose
    /// weights are `weights`.
    #[inline(always)]
    unsafe fn tile<S: Simd, P: Pairs<S>, L: Format, const R: usize, const C: usize>(
        &mut self,
        row: usize,
        output: usize,
        weights: Lines,
        lines: Range<usize>,
        sums: *mut f32,
    ) -> usize {
        let of_block =
            if L::SCALED { self.w.lines_per_scale().unwrap_or(usize::MAX) } else { usize::MAX };
        let mut scales = [&[][..]; C];
        for c in 0..C {
            scales[c] = self.w.scales_of(output + c);
        }
        // SAFETY: by the contract of `all_rows`; blocks that are scaled begin and end with these lines.
        unsafe {
            let mut at = lines.start;
            while at < lines.end {
                let end = lines.end.min((at / of_block + 1).saturating_mul(of_block));
                let mut open = [[S::splat(0.0); C]; R];
                if !L::SCALED && at > 0 {
                    for c in 0..C {
                        for r in 0..R {
                            open[r][c] = S::load(sums.add((r * GROUP + c) * LANES));
                        }
                    }
                }
                self.add_lines::<S, P, L, R, C>(row, weights, at..end, &mut open);
                for c in 0..C {
                    let scale =
                        S::splat(if L::SCALED { scales[c][at / of_block] * L::UNIT } else { 1.0 });
                    for r in 0..R {
                        let to = sums.add((r * GROUP + c) * LANES);
                        if L::SCALED {
                            let before = if at > 0 { S::load(to) } else { S::splat(0.0) };
                            open[r][c] = S::fma(open[r][c], scale, before);
                        }
                        S::store(to, open[r][c]);
                    }
                }
                at = end;
            }
        }
        C
    }

    /// Adds the terms of some lines.
    #[inline(always)]
    unsafe fn add_lines<S: Simd, P: Pairs<S>, L: Format, const R: usize, const C: usize>(
        &self,
        row: usize,
        weights: Lines,
        lines: Range<usize>,
        sums: &mut [[S::V; C]; R],
    ) {
        let (x, stride) = self.x.lines(row..row + R);
        let whole = lines.end.min(if L::PADDED { lines.end } else { self.w.cols / COLUMNS });
        let streamed = self.rows.len() < WIDE && !L::PADDED;
        // SAFETY: by the contract of `all_rows`; rows of `x` are whole lines, and those of the weights as many
        // as are whole, and a rest.
        unsafe {
            let mut at = lines.start;
            while at + L::LINES <= whole {
                let mut w = [[P::load(x); 2]; C];
                for c in 0..C {
                    w[c] = L::load::<S, P>(weights.from.add(c * weights.stride + at * L::LINE));
                    if streamed {
                        // The next tile's weights, from front to back while these are used.
                        let ahead = C * weights.stride + (at * C + c * L::LINES) * L::LINE;
                        S::prefetch_far(weights.from.wrapping_add(ahead));
                    }
                }
                for line in 0..L::LINES {
                    add::<S, P, R, C>(x.add((at + line) * LINE), stride, &w, line, sums);
                }
                at += L::LINES;
            }
            while at < lines.end {
                let mut w = [[P::load(x); 2]; C];
                for c in 0..C {
                    let mut rest = [0_u8; LINE];
                    let from = weights.from.add(c * weights.stride + at * L::LINE);
                    let columns = (self.w.cols - at * COLUMNS).min(COLUMNS);
                    let bytes = columns * L::LINE / COLUMNS;
                    std::ptr::copy_nonoverlapping(from, rest.as_mut_ptr(), bytes);
                    w[c] = L::load::<S, P>(rest.as_ptr());
                }
                add::<S, P, R, C>(x.add(at * LINE), stride, &w, 0, sums);
                at += 1;
            }
        }
    }
}

/// Adds the products of a line of each of `R` rows, `stride` bytes apart, with line `line` of `C` outputs' weights.
///
/// # Safety
/// The processor has the instructions of `S` and `P`, and the rows have such a line.
#[inline(always)]
unsafe fn add<S: Simd, P: Pairs<S>, const R: usize, const C: usize>(
    x: *const u8,
    stride: usize,
    w: &[[P::P; 2]; C],
    line: usize,
    sums: &mut [[S::V; C]; R],
) {
    for r in 0..R {
        // SAFETY: by the contract of this function.
        unsafe {
            let x = P::load(x.add(r * stride));
            for c in 0..C {
                sums[r][c] = P::add(sums[r][c], x, w[c][line]);
            }
        }
    }
}
