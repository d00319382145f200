//! Memory of tiles, and `f32` rounded into it.

use latent_kernels::cpu::{Kernel, LANES, Simd, round_line};

/// Sixteen words, each a `f32` or two bf16: a row of a tile.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; LANES]);

/// The bytes of a line.
pub(super) const LINE: usize = size_of::<Line>();

/// The elements of a line of bf16.
pub(super) const WIDTH: usize = 2 * LANES;

/// So many lines at least, whatever they hold.
pub(super) fn room(lines: &mut Vec<Line>, count: usize) {
    if lines.len() < count {
        lines.resize(count, Line::default());
    }
}

/// The lines of a row of so many elements.
pub(super) fn lines_of(width: usize) -> usize {
    width.div_ceil(WIDTH)
}

/// Lines as elements of bf16.
pub(super) fn elements(lines: &[Line]) -> &[u16] {
    // SAFETY: a line is so many elements and nothing else.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * WIDTH) }
}

/// The same, to be written.
pub(super) fn elements_mut(lines: &mut [Line]) -> &mut [u16] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * WIDTH) }
}

/// Rounds `width` elements of each of `count` rows; zeros behind them up to whole lines.
pub(super) struct Round<'a> {
    /// Row `i` lies at `i * stride`.
    pub(super) rows: &'a [f32],
    pub(super) stride: usize,
    pub(super) width: usize,
    pub(super) count: usize,
    /// Takes row `i` at `i * across`, which are as many lines as hold a row, or more.
    pub(super) to: &'a mut [Line],
    pub(super) across: usize,
}

impl Kernel for Round<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in 0..self.count {
            let from = &self.rows[row * self.stride..][..self.width];
            let to = &mut self.to[row * self.across..][..lines_of(self.width)];
            for at in 0..to.len() {
                // SAFETY: by the contract of the trait; a line has as many bytes.
                unsafe { round_line::<S>(&from[at * WIDTH..], to[at].0.as_mut_ptr().cast()) };
            }
        }
    }
}
