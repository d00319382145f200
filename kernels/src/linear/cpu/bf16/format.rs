//! How weights lie that meet activations in bf16, and how 32 columns of them are read.

use std::ops::Range;

use crate::cpu::Rows;
use crate::cpu::bf16::COLUMNS;
use crate::cpu::pairs::Pairs;
use crate::cpu::simd::{LANES, Simd};
use crate::cpu::stored::{Bf16, E4m3, Element, Stored};

/// The bytes of 32 columns in bf16.
pub(super) const LINE: usize = 2 * COLUMNS;

/// A format of weights.
pub(super) trait Format: 'static {
    /// The bytes of a line: 32 columns.
    const LINE: usize;
    /// The lines that are read at once, at most two; 64 bytes.
    const LINES: usize = 1;
    /// Whether blocks have scales.
    const SCALED: bool;
    /// What scales are to be multiplied by.
    const UNIT: f32 = 1.0;
    /// Whether zeros stand behind each row up to a whole line.
    const PADDED: bool = false;

    /// Reads [`LINES`](Self::LINES).
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `P`, and as many lines can be read.
    unsafe fn load<S: Simd, P: Pairs<S>>(from: *const u8) -> [P::P; 2];
}

/// bf16 where it is stored.
pub(super) struct Bf16Lines;

impl Format for Bf16Lines {
    const LINE: usize = LINE;
    const SCALED: bool = false;

    #[inline(always)]
    unsafe fn load<S: Simd, P: Pairs<S>>(from: *const u8) -> [P::P; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { [P::load(from); 2] }
    }
}

/// e4m3 where it is stored, widened on the way.
pub(super) struct E4m3Lines;

impl Format for E4m3Lines {
    const LINE: usize = COLUMNS;
    const LINES: usize = 2;
    const SCALED: bool = true;
    const UNIT: f32 = E4m3::UNIT;

    #[inline(always)]
    unsafe fn load<S: Simd, P: Pairs<S>>(from: *const u8) -> [P::P; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { P::load_e4m3_256th(from) }
    }
}

/// e4m3 that was widened before.
pub(super) struct Widened;

impl Format for Widened {
    const LINE: usize = LINE;
    const SCALED: bool = true;
    const UNIT: f32 = E4m3::UNIT;
    const PADDED: bool = true;

    #[inline(always)]
    unsafe fn load<S: Simd, P: Pairs<S>>(from: *const u8) -> [P::P; 2] {
        // SAFETY: by the contract of the trait.
        unsafe { [P::load(from); 2] }
    }
}

/// Rows of weights in memory.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    pub(super) from: *const u8,
    /// The bytes from one row to the next.
    pub(super) stride: usize,
}

impl Lines {
    /// The rows of some outputs where they are stored.
    ///
    /// # Panics
    /// When there are no such outputs.
    #[inline(always)]
    pub(super) fn of<L: Format>(w: &Stored<'_>, outputs: Range<usize>) -> Self {
        let rows = match L::LINE {
            LINE => w.rows_of::<Bf16>(outputs.start, outputs.len()),
            _ => w.rows_of::<E4m3>(outputs.start, outputs.len()),
        };
        Self { from: rows.as_ptr(), stride: w.cols * L::LINE / COLUMNS }
    }

    /// The rows of some outputs in e4m3, written to `memory` as bf16 with zeros behind each.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and `P`.
    #[inline(always)]
    pub(super) unsafe fn widened<S: Simd, P: Pairs<S>>(
        w: &Stored<'_>,
        outputs: Range<usize>,
        memory: &mut Rows,
    ) -> Self {
        let stored = Self::of::<E4m3Lines>(w, outputs.clone());
        let (whole, rest) = (w.cols / LINE, w.cols % LINE);
        let stride = w.cols.div_ceil(LINE) * 2 * LINE;
        let to = memory.room(outputs.len() * stride / LINE * LANES).cast::<u8>();
        for output in 0..outputs.len() {
            // SAFETY: the weights have whole twos of lines and a rest, and there is room for as many lines.
            unsafe {
                let (from, to) = (stored.from.add(output * stored.stride), to.add(output * stride));
                for at in 0..whole {
                    P::widen_e4m3_256th(from.add(at * LINE), to.add(2 * at * LINE));
                }
                if rest > 0 {
                    let mut last = [0; LINE];
                    std::ptr::copy_nonoverlapping(from.add(whole * LINE), last.as_mut_ptr(), rest);
                    P::widen_e4m3_256th(last.as_ptr(), to.add(2 * whole * LINE));
                }
            }
        }
        Self { from: to, stride }
    }

    /// The same from another row on.
    #[inline(always)]
    pub(super) fn behind(self, rows: usize) -> Self {
        Self { from: self.from.wrapping_add(rows * self.stride), ..self }
    }
}
