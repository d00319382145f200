//! Activations rounded to bf16, as products in bf16 read them.

use std::ops::Range;

use super::simd::{Kernel, LANES, Simd};
use super::{Cpu, Parts, filled};

mod columns;

pub use columns::Bf16Columns;
pub(crate) use columns::VECTORS;

/// The columns that products take at once.
pub(crate) const COLUMNS: usize = 32;

/// A cache line of bf16.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u16; COLUMNS]);

/// Rows of activations in bf16: the nearest numbers, ties to even.
#[derive(Debug)]
pub(crate) struct Bf16Rows {
    /// Row after row, zeros behind each.
    lines: Vec<Line>,
    /// The lines from one row to the next.
    stride: usize,
    len: usize,
    width: usize,
}

impl Bf16Rows {
    /// Rounds rows of `width` elements, with all threads.
    ///
    /// # Panics
    /// When a row has another length.
    pub(crate) fn new(cpu: &Cpu, width: usize, rows: &[&[f32]]) -> Self {
        let across = width.div_ceil(COLUMNS);
        // Rows a multiple of a page apart would meet in the same few places of a cache.
        let stride = if across.is_multiple_of(8) { across + 1 } else { across };
        // As many rows to a task as are worth its start.
        let step = (1_usize << 15).div_ceil(width.max(1));
        let run = |parts: &Parts<'_, Line>, task: usize| {
            for row in task * step..rows.len().min((task + 1) * step) {
                assert!(rows[row].len() == width, "the width of a row");
                // SAFETY: each row belongs to one task.
                let lines = unsafe { parts.part(row * stride..(row + 1) * stride) };
                let (lines, behind) = lines.split_at_mut(across);
                cpu.isa().run(RoundRow { row: rows[row], lines });
                behind.fill(Line([0; COLUMNS]));
            }
        };
        let tasks = rows.len().div_ceil(step);
        let fill = |parts: &Parts<'_, Line>| cpu.pool().run(tasks, &|task| run(parts, task));
        // SAFETY: tasks write all lines of all rows.
        let lines = unsafe { filled(rows.len() * stride, fill) };
        Self { lines, stride, len: rows.len(), width }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The elements of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Where neighbouring rows begin, each followed by zeros up to a multiple of [`COLUMNS`], and the bytes
    /// from one to the next.
    ///
    /// # Panics
    /// When there are no such rows.
    #[inline(always)]
    pub(crate) fn lines(&self, rows: Range<usize>) -> (*const u8, usize) {
        let lines = &self.lines[rows.start * self.stride..rows.end * self.stride];
        (lines.as_ptr().cast(), self.stride * size_of::<Line>())
    }
}

/// The bits of the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) const fn nearest(v: f32) -> u16 {
    let bits = v.to_bits();
    let half = 0x7fff + (bits >> 16 & 1);
    let rounded = if v.is_nan() { 0x7fc0_0000 } else { bits.wrapping_add(half) };
    (rounded >> 16) as u16
}

/// A row to round.
struct RoundRow<'a> {
    row: &'a [f32],
    lines: &'a mut [Line],
}

impl Kernel for RoundRow<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for at in 0..self.lines.len() {
            // SAFETY: by the contract of the trait; a line has as many bytes.
            unsafe {
                round_line::<S>(&self.row[at * COLUMNS..], self.lines[at].0.as_mut_ptr().cast())
            };
        }
    }
}

/// Writes the nearest bf16 of the first 32 elements, ties to even, 64 bytes; zeros where there are fewer. NaN stays
/// NaN.
///
/// ```
/// use latent_kernels::cpu::{Isa, Kernel, Simd, round_line};
/// struct Line([u16; 32]);
/// impl Kernel for &mut Line {
///     type Output = ();
///     unsafe fn run<S: Simd>(self) {
///         // SAFETY: by the contract of the trait; there is room for 64 bytes.
///         unsafe { round_line::<S>(&[1.0, 1.001], self.0.as_mut_ptr().cast()) }
///     }
/// }
/// let mut line = Line([9; 32]);
/// Isa::best().run(&mut line);
/// assert_eq!(line.0[..3], [0x3f80, 0x3f80, 0]);
/// ```
///
/// # Safety
/// The processor has the instructions of `S`, and 64 bytes can be written.
#[inline(always)]
pub unsafe fn round_line<S: Simd>(from: &[f32], to: *mut u8) {
    let mut rest = [0.0; COLUMNS];
    let from = if from.len() < COLUMNS {
        rest[..from.len()].copy_from_slice(from);
        rest.as_ptr()
    } else {
        from.as_ptr()
    };
    // SAFETY: by the contract of this function; a line is two vectors of elements.
    unsafe {
        S::store_bf16(to, S::round_bf16(S::load(from)));
        S::store_bf16(to.add(COLUMNS), S::round_bf16(S::load(from.add(LANES))));
    }
}
