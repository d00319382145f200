//! Memory that kernels read and write: aligned rows, and results that tasks fill in parts.

use std::marker::PhantomData;
use std::ops::Range;

use super::Pool;
use super::simd::LANES;
use super::split::Split;

/// Rows of activations, each at an aligned address and filled up with zeros to whole vectors.
///
/// ```
/// use latent_kernels::cpu::Rows;
/// let rows = Rows::pack(3, [&[1.0, 2.0, 3.0][..], &[4.0, 5.0, 6.0]].into_iter());
/// assert_eq!((rows.len(), rows.row(1)[..4].to_vec()), (2, vec![4.0, 5.0, 6.0, 0.0]));
/// ```
#[derive(Debug, Default)]
pub struct Rows {
    data: Vec<Line>,
    len: usize,
    width: usize,
    /// The lines from one row to the next.
    lines: usize,
    /// Their parts, where products on tiles asked for them; gone when the rows are written.
    pub(super) split: Option<Split>,
}

/// A cache line of elements.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
struct Line([f32; LANES]);

impl Rows {
    /// `len` rows of `width` zeros.
    #[must_use]
    pub fn zeros(len: usize, width: usize) -> Self {
        let lines = width.div_ceil(LANES);
        // Rows a multiple of a page apart would meet in the same few places of a cache.
        let lines = if lines > 0 && lines.is_multiple_of(16) { lines + 1 } else { lines };
        Self { data: vec![Line::default(); len * lines], len, width, lines, split: None }
    }

    /// Memory for so many elements and a vector's worth of vectors behind them, whatever they hold.
    pub(crate) fn room(&mut self, elements: usize) -> *mut f32 {
        let lines = elements.div_ceil(LANES) + LANES;
        if self.data.len() < lines {
            self.data.resize(lines, Line::default());
        }
        self.data.as_mut_ptr().cast()
    }

    /// Copies of rows of `width` elements, made by all threads.
    ///
    /// # Panics
    /// When a row has another length.
    #[must_use]
    pub fn gather(pool: &Pool, width: usize, rows: &[&[f32]]) -> Self {
        let mut packed = Self::zeros(rows.len(), width);
        let (parts, stride) = packed.parts();
        // As many rows to a task as are worth its start.
        let step = (1_usize << 15).div_ceil(width.max(1));
        pool.run(rows.len().div_ceil(step), &|task| {
            for row in task * step..rows.len().min((task + 1) * step) {
                // SAFETY: each row belongs to one task.
                unsafe { parts.part(row * stride..row * stride + width) }
                    .copy_from_slice(rows[row]);
            }
        });
        packed
    }

    /// Copies of rows of `width` elements.
    #[must_use]
    pub fn pack<'a>(width: usize, rows: impl ExactSizeIterator<Item = &'a [f32]>) -> Self {
        let mut packed = Self::zeros(rows.len(), width);
        for (i, row) in rows.enumerate() {
            packed.row_mut(i)[..width].copy_from_slice(row);
        }
        packed
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements of a row, without the zeros behind them.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// The elements of a row, zeros behind them.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, i: usize) -> &[f32] {
        elements(&self.data[i * self.lines..(i + 1) * self.lines])
    }

    /// The same, to be written.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        self.split = None;
        elements_mut(&mut self.data[i * self.lines..(i + 1) * self.lines])
    }

    /// All rows, to be written by different tasks, and the elements from one row's first to the next's.
    ///
    /// What lies behind the elements of a row must stay 0.
    ///
    /// ```
    /// use latent_kernels::cpu::Rows;
    /// let mut rows = Rows::zeros(2, 3);
    /// let (parts, stride) = rows.parts();
    /// // SAFETY: no other task writes here.
    /// unsafe { parts.write(stride + 2, 5.0) };
    /// assert_eq!(rows.row(1)[..3], [0.0, 0.0, 5.0]);
    /// ```
    pub fn parts(&mut self) -> (Parts<'_, f32>, usize) {
        self.split = None;
        (Parts::new(elements_mut(&mut self.data)), self.lines * LANES)
    }
}

/// The elements of lines.
fn elements(lines: &[Line]) -> &[f32] {
    // SAFETY: a line is sixteen elements and nothing else.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LANES) }
}

/// The same, to be written.
fn elements_mut(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LANES) }
}

/// `len` elements that tasks write, each before it is read: none is set to zero beforehand.
///
/// ```
/// use latent_kernels::cpu::filled;
/// // SAFETY: both elements are written.
/// let squares = unsafe { filled(2, |parts| (0..2).for_each(|i| parts.write(i, i * i))) };
/// assert_eq!(squares, [0, 1]);
/// ```
///
/// # Safety
/// `fill` writes every element, and reads none that is not written.
pub unsafe fn filled<T: Copy>(len: usize, fill: impl FnOnce(&Parts<'_, T>)) -> Vec<T> {
    // SAFETY: by the contract of this function.
    unsafe { filled_all(&[len], |parts| fill(&parts[0])) }.swap_remove(0)
}

/// Results of so many elements each, which tasks write as those of [`filled`].
///
/// # Safety
/// As [`filled`], for all of them.
pub(crate) unsafe fn filled_all<T: Copy>(
    lens: &[usize],
    fill: impl FnOnce(&[Parts<'_, T>]),
) -> Vec<Vec<T>> {
    let mut results: Vec<Vec<T>> = lens.iter().map(|_| Vec::new()).collect();
    let room = results.iter_mut().zip(lens);
    fill(&room.map(|(room, &len)| Parts::unwritten(room, len)).collect::<Vec<_>>());
    for (result, &len) in results.iter_mut().zip(lens) {
        // SAFETY: by the contract of this function.
        unsafe { result.set_len(len) };
    }
    results
}

/// A slice whose parts are written by different tasks at once.
#[derive(Debug)]
pub struct Parts<'a, T> {
    data: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: who takes a part promises that no other task has it.
unsafe impl<T: Send> Sync for Parts<'_, T> {}

impl<'a, T> Parts<'a, T> {
    /// The parts of `slice`.
    pub fn new(slice: &'a mut [T]) -> Self {
        Self { data: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// Parts of the first `len` elements that `room` has room for, whatever it holds: `room` takes them over when
    /// all are written, by [`Vec::set_len`].
    pub(crate) fn unwritten(room: &'a mut Vec<T>, len: usize) -> Self
    where
        T: Copy,
    {
        room.clear();
        room.reserve_exact(len);
        Self { data: room.as_mut_ptr(), len, lifetime: PhantomData }
    }

    /// The elements in `range`.
    ///
    /// # Safety
    /// No element of it is in another part that lives.
    ///
    /// # Panics
    /// When the range does not lie inside.
    #[must_use]
    #[expect(clippy::mut_from_ref, reason = "parts do not overlap, by the contract")]
    pub unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part of the slice");
        // SAFETY: inside of the slice, and by the contract in no other part.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// Writes one element.
    ///
    /// # Safety
    /// No other task reads or writes it.
    ///
    /// # Panics
    /// When there is none such.
    #[inline(always)]
    pub unsafe fn write(&self, i: usize, value: T) {
        assert!(i < self.len, "an element of the slice");
        // SAFETY: inside of the slice, and by the contract no other task's.
        unsafe { self.data.add(i).write(value) }
    }
}
