//! `c += a b`, one term after another: what gradients are made of.
//!
//! Lanes are neighbouring columns, so nothing is added across them: an element of `c` gets its terms by `fma`
//! in the order of the rows of `b`, behind what was there, however the work is cut. Columns of `b` are packed, a
//! panel at a time, and each row of `a` meets all of them; columns of a transposed `a`, which lie where caches have
//! few places for them, are packed as well.

use std::cell::Cell;
use std::marker::PhantomData;

use super::simd::{Kernel, LANES, Register, Simd, add_products};
use super::stored::{Element, F32};
use super::{Cpu, Rows};

mod bf16;

pub use bf16::{Bf16Product, add_bf16_products, bf16_products};

/// The rows of `b` that are packed at once: with the widest panel they fill half of a second cache.
const DEPTH: usize = 512;

/// The rows of `a` that are packed at once.
const HEIGHT: usize = 192;

/// The vectors of the widest panel.
const VECTORS: usize = 4;

/// The rows of the highest tile.
const ROWS: usize = 6;

thread_local! {
    /// A packed panel, and packed rows of `a`.
    static PACKED: Cell<(Rows, Rows)> = Cell::default();
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

/// Rows of a tile that is not whole.
type Partial = [[f32; VECTORS * LANES]; ROWS];

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
        let mut memory = PACKED.take();
        let panel = memory.0.room(DEPTH * VECTORS * LANES);
        let height = if self.a.col == 1 { self.m } else { self.m.min(HEIGHT) };
        let mut from = 0;
        while from < self.k {
            let depth = (self.k - from).min(DEPTH);
            let mut top = 0;
            while top < self.m {
                let rows = (self.m - top).min(height);
                // SAFETY: by what `run` proved, here and below; `a` has these rows and columns.
                let a = unsafe { self.a.values.as_ptr().add(top * self.a.row + from * self.a.col) };
                let mut left = Left { a, row: self.a.row, top, rows };
                if self.a.col != 1 {
                    let packed = memory.1.room(rows * depth);
                    // SAFETY: as above; there is room.
                    unsafe { self.pack_rows::<S>(a, rows, depth, packed) };
                    left = Left { a: packed, row: depth, top, rows };
                }
                let mut first = 0;
                while first < self.n {
                    let at = [from, depth, first];
                    // SAFETY: as above; the panel has room for every tile.
                    first += unsafe {
                        match (self.n - first).div_ceil(LANES) * LANES / S::Register::WIDTH {
                            4.. => self.columns::<S, 4>(left, at, panel),
                            2.. => self.columns::<S, 2>(left, at, panel),
                            _ => self.columns::<S, 1>(left, at, panel),
                        }
                    };
                }
                top += rows;
            }
            from += depth;
        }
        PACKED.set(memory);
    }
}

/// Rows of `a` whose columns are neighbours, from the first of a block on.
#[derive(Clone, Copy)]
struct Left {
    a: *const f32,
    row: usize,
    /// Which row of `c` the first goes to, and how many there are.
    top: usize,
    rows: usize,
}

impl<E: Element> Matmul<'_, E> {
    /// Copies `rows` of `depth` elements of a transposed `a`, row by row.
    #[inline(always)]
    unsafe fn pack_rows<S: Simd>(&self, a: *const f32, rows: usize, depth: usize, to: *mut f32) {
        for left in (0..depth).step_by(LANES) {
            for top in (0..rows).step_by(LANES) {
                let (cols, count) = ((depth - left).min(LANES), (rows - top).min(LANES));
                // SAFETY: by what the caller proved.
                unsafe {
                    let a = a.add(top * self.a.row + left * self.a.col);
                    let to = to.add(top * depth + left);
                    if self.a.row == 1 && cols == LANES && count == LANES {
                        S::transpose(a, self.a.col, to, depth);
                        continue;
                    }
                    for row in 0..count {
                        for i in 0..cols {
                            *to.add(row * depth + i) = *a.add(row * self.a.row + i * self.a.col);
                        }
                    }
                }
            }
        }
    }

    /// Some rows with `C` registers of columns; gives the number of columns.
    #[inline(always)]
    unsafe fn columns<S: Simd, const C: usize>(
        &self,
        left: Left,
        [from, depth, first]: [usize; 3],
        panel: *mut f32,
    ) -> usize {
        let width = (self.n - first).min(C * S::Register::WIDTH);
        // SAFETY: by what `run` proved.
        unsafe {
            self.pack::<S>(from, depth, first, width, panel);
            let mut partial: Partial = [[0.0; VECTORS * LANES]; ROWS];
            let mut row = 0;
            while row < left.rows {
                let at = [depth, first, width];
                row += match left.rows - row {
                    6.. if S::Register::ROWS >= 6 => {
                        self.tile::<S, 6, C>(left, row, at, panel, &mut partial)
                    }
                    3.. if S::Register::ROWS >= 3 => {
                        self.tile::<S, 3, C>(left, row, at, panel, &mut partial)
                    }
                    2.. => self.tile::<S, 2, C>(left, row, at, panel, &mut partial),
                    _ => self.tile::<S, 1, C>(left, row, at, panel, &mut partial),
                };
            }
        }
        width
    }

    /// Widens `depth` rows of `b` from `from` on, zeros behind `width` columns, into `[row, vector, lane]`.
    #[inline(always)]
    unsafe fn pack<S: Simd>(
        &self,
        from: usize,
        depth: usize,
        first: usize,
        width: usize,
        panel: *mut f32,
    ) {
        let vectors = width.div_ceil(LANES);
        for i in 0..depth {
            // SAFETY: by what `run` proved.
            unsafe {
                let unit = S::splat(E::UNIT);
                let row = self.b.add((from + i) * self.b_row + first * E::BYTES);
                for at in 0..vectors {
                    let left = width - at * LANES;
                    let from = row.add(at * LANES * E::BYTES);
                    let v = if left >= LANES {
                        E::load::<S>(from)
                    } else {
                        E::load_first::<S>(from, left)
                    };
                    S::store(panel.add((i * vectors + at) * LANES), S::mul(v, unit));
                }
            }
        }
    }

    /// `R` rows of `a` with a packed panel; gives `R`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const C: usize>(
        &self,
        left: Left,
        row: usize,
        [depth, first, width]: [usize; 3],
        panel: *const f32,
        partial: &mut Partial,
    ) -> usize {
        let across = C * S::Register::WIDTH;
        let whole = width == across;
        let mut c = [std::ptr::null_mut(); R];
        let mut a = [std::ptr::null(); R];
        // SAFETY: by what `run` proved; a partial tile is met in memory of its own.
        unsafe {
            for r in 0..R {
                a[r] = left.a.add((row + r) * left.row);
                c[r] = self.c.add((left.top + row + r) * self.c_row + first);
                if !whole {
                    std::ptr::copy_nonoverlapping(c[r], partial[r].as_mut_ptr(), width);
                    c[r] = partial[r].as_mut_ptr();
                }
            }
            let mut b = [std::ptr::null(); C];
            for v in 0..C {
                b[v] = panel.add(v * S::Register::WIDTH);
            }
            let mut sums = [[S::Register::splat(0.0); C]; R];
            for r in 0..R {
                for v in 0..C {
                    sums[r][v] = S::Register::load(c[r].add(v * S::Register::WIDTH));
                }
            }
            for i in 0..depth {
                let mut terms = [S::Register::splat(0.0); R];
                for r in 0..R {
                    terms[r] = S::Register::splat(*a[r].add(i));
                }
                add_products(&terms, &b, i * across, &mut sums);
            }
            for r in 0..R {
                for v in 0..C {
                    sums[r][v].store(c[r].add(v * S::Register::WIDTH));
                }
                if !whole {
                    let to = self.c.add((left.top + row + r) * self.c_row + first);
                    std::ptr::copy_nonoverlapping(partial[r].as_ptr(), to, width);
                }
            }
        }
        R
    }
}
