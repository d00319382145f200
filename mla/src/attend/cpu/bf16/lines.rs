//! Memory of tiles, and `f32` rounded into it.

use latent_kernels::cpu::{Kernel, LANES, Simd};

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
                // SAFETY: by the contract of the trait.
                unsafe { round_line::<S>(&from[at * WIDTH..], &mut to[at]) };
            }
        }
    }
}

/// Rounds as many elements as a line has; zeros where there are fewer.
///
/// # Safety
/// The processor has the instructions of `S`.
#[inline(always)]
pub(super) unsafe fn round_line<S: Simd>(from: &[f32], to: &mut Line) {
    let mut rest = [0.0; WIDTH];
    let from = if from.len() < WIDTH {
        rest[..from.len()].copy_from_slice(from);
        rest.as_ptr()
    } else {
        from.as_ptr()
    };
    let to = to.0.as_mut_ptr().cast::<u8>();
    // SAFETY: by the contract of this function; a line is two vectors of elements.
    unsafe {
        S::store_bf16(to, S::round_bf16(S::load(from)));
        S::store_bf16(to.add(LINE / 2), S::round_bf16(S::load(from.add(LANES))));
    }
}
