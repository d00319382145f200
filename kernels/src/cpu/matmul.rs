//! `c += a b`, one term after another: what gradients are made of.
//!
//! Lanes are neighbouring columns, so nothing is added across them: an element of `c` gets its terms by `fma`
//! in the order of the rows of `b`, behind what was there, however the work is cut. Columns of `b` are packed, a
//! panel at a time, and each row of `a` meets all of them.

use std::cell::Cell;
use std::marker::PhantomData;

use super::simd::{Kernel, LANES, Simd};
use super::stored::{Element, F32};
use super::{Cpu, Rows};

/// The rows of `b` that are packed at once: with the widest panel they fill half of a second cache.
const DEPTH: usize = 512;

/// The vectors of the widest panel.
const VECTORS: usize = 4;

/// The rows of the highest tile.
const ROWS: usize = 6;

thread_local! {
    /// A packed panel.
    static PANEL: Cell<Rows> = Cell::default();
}

/// A matrix whose element `[i, j]` lies at `i * row + j * col`: a part of one, or a transposed one.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Its memory, from the first element on.
    pub values: &'a [f32],
    /// The elements from a row to the next.
    pub row: usize,
    /// The elements from a column to the next.
    pub col: usize,
}

impl<'a> View<'a> {
    /// Rows of so many columns, one behind the other.
    #[must_use]
    pub fn rows(values: &'a [f32], cols: usize) -> Self {
        Self { values, row: cols, col: 1 }
    }

    /// The same without the rows before `row`.
    ///
    /// # Panics
    /// When it has no such row.
    #[must_use]
    pub fn from_row(self, row: usize) -> Self {
        Self { values: &self.values[row * self.row..], ..self }
    }

    /// Rows and columns changed.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self { row: self.col, col: self.row, ..self }
    }
}

/// Adds the product of `a` `[m, k]` and `b` `[k, n]` to `c` `[m, n]`, on this thread.
///
/// `b` and `c` have rows of neighbours, so many elements apart as stand beside them.
///
/// ```
/// use latent_kernels::cpu::{Cpu, View, add_matmul};
/// let (a, b) = ([1.0, 2.0, 3.0, 4.0], [10.0, 1.0]);
/// let mut c = [0.5, 0.5];
/// add_matmul(&Cpu::new(), View::rows(&a, 2), (&b, 1), (&mut c, 1), [2, 2, 1]);
/// assert_eq!(c, [12.5, 34.5]);
/// ```
///
/// # Panics
/// When an operand does not have all elements.
pub fn add_matmul(
    cpu: &Cpu,
    a: View<'_>,
    (b, b_row): (&[f32], usize),
    (c, c_row): (&mut [f32], usize),
    [m, k, n]: [usize; 3],
) {
    run::<F32>(cpu, a, (bytes(b), 4 * b_row), (c, c_row), [m, k, n]);
}

/// The same with `b` of a stored type, its rows so many bytes apart.
///
/// # Panics
/// As [`add_matmul`].
pub(crate) fn run<E: Element>(
    cpu: &Cpu,
    a: View<'_>,
    (b, b_row): (&[u8], usize),
    (c, c_row): (&mut [f32], usize),
    [m, k, n]: [usize; 3],
) {
    if m == 0 || k == 0 || n == 0 {
        return;
    }
    assert!((m - 1) * a.row + (k - 1) * a.col < a.values.len(), "elements of a");
    assert!((k - 1) * b_row + n * E::BYTES <= b.len(), "elements of b");
    assert!(c_row >= n && (m - 1) * c_row + n <= c.len(), "elements of c");
    let (b, c) = (b.as_ptr(), c.as_mut_ptr());
    cpu.isa().run(Matmul::<E> { a, b, b_row, c, c_row, m, k, n, element: PhantomData });
}

/// The memory of some elements.
pub(crate) fn bytes(values: &[f32]) -> &[u8] {
    // SAFETY: every byte of a number is one, and there are as many.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// A task: every element that the sizes speak of is there.
struct Matmul<'a, E> {
    a: View<'a>,
    b: *const u8,
    b_row: usize,
    c: *mut f32,
    c_row: usize,
    m: usize,
    k: usize,
    n: usize,
    element: PhantomData<E>,
}

impl<E: Element> Kernel for Matmul<'_, E> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut memory = PANEL.take();
        let panel = memory.room(DEPTH * VECTORS * LANES);
        let mut first = 0;
        while first < self.n {
            // SAFETY: by what `run` proved, here and below; the panel has room for every tile.
            first += unsafe {
                match (self.n - first).div_ceil(LANES) {
                    4.. if S::COLUMNS >= 4 => self.columns::<S, 4>(first, panel),
                    2.. => self.columns::<S, 2>(first, panel),
                    _ => self.columns::<S, 1>(first, panel),
                }
            };
        }
        PANEL.set(memory);
    }
}

impl<E: Element> Matmul<'_, E> {
    /// All rows with `C` vectors of columns from `first` on; gives the number of columns.
    #[inline(always)]
    unsafe fn columns<S: Simd, const C: usize>(&self, first: usize, panel: *mut f32) -> usize {
        let width = (self.n - first).min(C * LANES);
        let mut from = 0;
        while from < self.k {
            let depth = (self.k - from).min(DEPTH);
            // SAFETY: by what `run` proved.
            unsafe {
                self.pack::<S, C>(from, depth, first, width, panel);
                let mut row = 0;
                while row < self.m {
                    row += match self.m - row {
                        6.. if S::ROWS >= 6 => {
                            self.tile::<S, 6, C>(row, from, depth, first, width, panel)
                        }
                        3.. if S::ROWS >= 3 => {
                            self.tile::<S, 3, C>(row, from, depth, first, width, panel)
                        }
                        2.. => self.tile::<S, 2, C>(row, from, depth, first, width, panel),
                        _ => self.tile::<S, 1, C>(row, from, depth, first, width, panel),
                    };
                }
            }
            from += depth;
        }
        width
    }

    /// Widens `depth` rows of `b` from `from` on, zeros behind `width` columns, into `[row, C, lane]`.
    #[inline(always)]
    unsafe fn pack<S: Simd, const C: usize>(
        &self,
        from: usize,
        depth: usize,
        first: usize,
        width: usize,
        panel: *mut f32,
    ) {
        for i in 0..depth {
            // SAFETY: by what `run` proved.
            unsafe {
                let unit = S::splat(E::UNIT);
                let row = self.b.add((from + i) * self.b_row + first * E::BYTES);
                for c in 0..C {
                    let left = width.saturating_sub(c * LANES);
                    let at = row.add((width - left) * E::BYTES);
                    let v =
                        if left >= LANES { E::load::<S>(at) } else { E::load_first::<S>(at, left) };
                    S::store(panel.add((i * C + c) * LANES), S::mul(v, unit));
                }
            }
        }
    }

    /// `R` rows of `a` with a packed panel; gives `R`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize>(
        &self,
        row: usize,
        from: usize,
        depth: usize,
        first: usize,
        width: usize,
        panel: *const f32,
    ) -> usize {
        let whole = width == C * LANES;
        let mut partial = [[0.0_f32; VECTORS * LANES]; ROWS];
        let mut c = [std::ptr::null_mut(); R];
        let mut a = [std::ptr::null(); R];
        // SAFETY: by what `run` proved; a partial tile is met in memory of its own.
        unsafe {
            for r in 0..R {
                a[r] = self.a.values.as_ptr().add((row + r) * self.a.row + from * self.a.col);
                c[r] = self.c.add((row + r) * self.c_row + first);
                if !whole {
                    std::ptr::copy_nonoverlapping(c[r], partial[r].as_mut_ptr(), width);
                    c[r] = partial[r].as_mut_ptr();
                }
            }
            let mut sums = [[S::splat(0.0); C]; R];
            for r in 0..R {
                for v in 0..C {
                    sums[r][v] = S::load(c[r].add(v * LANES));
                }
            }
            for i in 0..depth {
                let mut b = [S::splat(0.0); C];
                for v in 0..C {
                    b[v] = S::load(panel.add((i * C + v) * LANES));
                }
                for r in 0..R {
                    let a = S::splat(*a[r].add(i * self.a.col));
                    for v in 0..C {
                        sums[r][v] = S::fma(a, b[v], sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..C {
                    S::store(c[r].add(v * LANES), sums[r][v]);
                }
                if !whole {
                    let to = self.c.add((row + r) * self.c_row + first);
                    std::ptr::copy_nonoverlapping(partial[r].as_ptr(), to, width);
                }
            }
        }
        R
    }
}
