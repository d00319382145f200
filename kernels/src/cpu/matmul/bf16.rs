//! `c += a b` in bf16, with sums in `f32`: what gradients are made of where products are in bf16.
//!
//! Lanes are neighbouring columns, as in `f32`. An element of `c` gets the terms of one pair of rows of `b` after the
//! other, behind what was there: that of the second row, then that of the first, with one rounding each. So the order
//! follows from the length of the sum alone. The right side is packed before, for all threads; a thread packs the rows
//! of the left side that it is about to need.

use std::cell::Cell;
use std::ops::Range;

use super::View;
use crate::cpu::bf16::{Bf16Columns, VECTORS};
use crate::cpu::pairs::{PairKernel, Pairs};
use crate::cpu::simd::{LANES, Simd};
use crate::cpu::{Cpu, Parts, Rows, filled_all};

mod rows;

/// The rows of a task: packed, they fill a fifth of a second cache.
const HEIGHT: usize = 96;

/// The pairs of a row that are packed at once.
const LENGTH: usize = 512;

/// The pairs of rows of a panel that rows meet at once: they fill two thirds of a first cache.
const DEPTH: usize = 128;

/// The columns of a panel.
const PANEL: usize = VECTORS * LANES;

/// The bytes of a pair.
const PAIR: usize = 4;

thread_local! {
    /// Packed rows of `a`.
    static PACKED: Cell<Rows> = Cell::default();
}

/// The product of `a` `[m, k]` with `b` `[k, n]`, and what it is added to.
#[derive(Debug)]
pub struct Bf16Product<'a> {
    /// The left side, whose rows or columns are neighbours; it is rounded to the nearest bf16.
    pub a: View<'a>,
    /// The right side.
    pub b: &'a Bf16Columns,
    /// What the product is added to, `[m, n]`.
    pub c: &'a mut [f32],
}

/// Adds products, all of them at once with all threads.
///
/// ```
/// use latent_kernels::cpu::{Bf16Columns, Bf16Product, Cpu, View, add_bf16_products};
/// let (cpu, mut c) = (Cpu::new(), [0.5, 0.5]);
/// let a = View::rows(&[1.0, 2.001, 3.0, 4.0], 2);
/// let b = Bf16Columns::new(&cpu, &[10.0, 1.0], 1);
/// add_bf16_products(&cpu, vec![Bf16Product { a, b: &b, c: &mut c }]);
/// assert_eq!(c, [12.5, 34.5]);
/// ```
///
/// # Panics
/// When an operand does not have all elements, or neither rows nor columns of a left side are neighbours.
pub fn add_bf16_products(cpu: &Cpu, products: Vec<Bf16Product<'_>>) {
    let mut parts = Vec::with_capacity(products.len());
    for Bf16Product { a, b, c } in products {
        let m = c.len() / b.cols().max(1);
        assert!(c.len() == m * b.cols(), "elements of c");
        parts.push((a, m, b, Parts::new(c)));
    }
    let jobs = parts.iter().filter_map(|(a, m, b, c)| Job::new(*a, *m, b, c, true));
    run(cpu, &jobs.collect::<Vec<_>>());
}

/// The products of left sides of so many rows with right sides, as [`add_bf16_products`] adds them to zeros.
///
/// ```
/// use latent_kernels::cpu::{Bf16Columns, Cpu, View, bf16_products};
/// let (cpu, a) = (Cpu::new(), View::rows(&[1.0, 2.0, 3.0, 4.0], 2));
/// let b = Bf16Columns::new(&cpu, &[10.0, 1.0], 1);
/// assert_eq!(bf16_products(&cpu, &[(a, 2, &b)]), [[12.0, 34.0]]);
/// ```
///
/// # Panics
/// As [`add_bf16_products`].
#[must_use]
pub fn bf16_products(cpu: &Cpu, products: &[(View<'_>, usize, &Bf16Columns)]) -> Vec<Vec<f32>> {
    let empty = |(_, m, b): &(View<'_>, usize, &Bf16Columns)| *m == 0 || b.rows() == 0;
    let len = |(_, m, b): &(View<'_>, usize, &Bf16Columns)| m * b.cols();
    let lens = products.iter().map(|each| if empty(each) { 0 } else { len(each) });
    let lens: Vec<usize> = lens.collect();
    let fill = |parts: &[Parts<'_, f32>]| {
        let jobs = products.iter().zip(parts);
        let jobs = jobs.filter_map(|((a, m, b), c)| Job::new(*a, *m, b, c, false));
        run(cpu, &jobs.collect::<Vec<_>>());
    };
    // SAFETY: tasks write all elements of what is not empty.
    let mut results = unsafe { filled_all(&lens, fill) };
    for (result, product) in results.iter_mut().zip(products).filter(|(_, each)| empty(each)) {
        result.resize(len(product), 0.0);
    }
    results
}

/// Runs what tasks do of all jobs.
fn run(cpu: &Cpu, jobs: &[Job<'_>]) {
    let tasks = tasks(jobs, 2 * cpu.threads());
    cpu.pool().run(tasks.len(), &|task| {
        let (job, rows, cols) = tasks[task].clone();
        cpu.isa().run_on_pairs(Block { job: &jobs[job], rows, cols });
    });
}

/// The rows and columns of each task: all columns of some rows where that gives `least` tasks, else some of them.
fn tasks(jobs: &[Job<'_>], least: usize) -> Vec<(usize, Range<usize>, Range<usize>)> {
    let by_rows: usize = jobs.iter().map(|job| job.m.div_ceil(HEIGHT)).sum();
    let parts = least.div_ceil(by_rows.max(1));
    let mut tasks = Vec::new();
    for (i, Job { b, m, .. }) in jobs.iter().enumerate() {
        let width = b.cols().div_ceil(PANEL).div_ceil(parts) * PANEL;
        for top in (0..*m).step_by(HEIGHT) {
            for left in (0..b.cols()).step_by(width) {
                let (rows, cols) =
                    (top..(top + HEIGHT).min(*m), left..(left + width).min(b.cols()));
                tasks.push((i, rows, cols));
            }
        }
    }
    tasks
}

/// A product whose operands fit together, and none is empty.
struct Job<'a> {
    a: View<'a>,
    b: &'a Bf16Columns,
    c: &'a Parts<'a, f32>,
    m: usize,
    /// Whether sums go on from what is in `c`.
    add: bool,
}

impl<'a> Job<'a> {
    /// `None` for a product without terms.
    fn new(
        a: View<'a>,
        m: usize,
        b: &'a Bf16Columns,
        c: &'a Parts<'a, f32>,
        add: bool,
    ) -> Option<Self> {
        let (k, n) = (b.rows(), b.cols());
        if m == 0 || k == 0 || n == 0 {
            return None;
        }
        assert!(a.row == 1 || a.col == 1, "neighbours in a");
        assert!((m - 1) * a.row + (k - 1) * a.col < a.values.len(), "elements of a");
        Some(Self { a, b, c, m, add })
    }
}

/// A task: some rows and columns of a job.
struct Block<'a> {
    job: &'a Job<'a>,
    rows: Range<usize>,
    cols: Range<usize>,
}

/// Packed rows: where they are, and the bytes from one to the next.
#[derive(Clone, Copy)]
struct Packed {
    first: *const u8,
    stride: usize,
}

impl PairKernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, P: Pairs<S>>(self) {
        let (pairs, mut memory) = (self.job.b.pairs(), PACKED.take());
        for start in (0..pairs).step_by(LENGTH) {
            let end = pairs.min(start + LENGTH);
            // Whole lines, and one more: rows a multiple of a page apart would meet in few places of a cache.
            let stride = (end - start).next_multiple_of(LANES) + LANES;
            let to = memory.room(HEIGHT * stride);
            // SAFETY: by the contract of the trait, here and in all that follows; there is room for the rows, and the
            // job has these.
            unsafe { rows::pack::<S>(&self, start..end, to, stride) };
            let left = Packed { first: to.cast(), stride: PAIR * stride };
            for first in self.cols.clone().step_by(PANEL) {
                for from in (start..end).step_by(DEPTH) {
                    let to = end.min(from + DEPTH);
                    // SAFETY: as above.
                    unsafe {
                        let first_pair = left.first.add((from - start) * PAIR);
                        let left = Packed { first: first_pair, ..left };
                        self.all_rows::<S, P>(left, first, from..to);
                    }
                }
            }
        }
        PACKED.set(memory);
    }
}

impl Block<'_> {
    /// Every row with some pairs of rows of the panel that begins with column `first`.
    #[inline(always)]
    unsafe fn all_rows<S: Simd, P: Pairs<S>>(
        &self,
        left: Packed,
        first: usize,
        pairs: Range<usize>,
    ) {
        let (mut row, count) = (0, self.rows.len());
        while row < count {
            // SAFETY: by what the caller proved.
            row += unsafe {
                match count - row {
                    6.. if P::ROWS >= 6 => self.panel::<S, P, 6>(left, row, first, &pairs),
                    3.. if P::ROWS >= 3 => self.panel::<S, P, 3>(left, row, first, &pairs),
                    2.. if P::ROWS >= 2 => self.panel::<S, P, 2>(left, row, first, &pairs),
                    _ => self.panel::<S, P, 1>(left, row, first, &pairs),
                }
            };
        }
    }

    /// `R` rows with them; gives `R`.
    #[inline(always)]
    unsafe fn panel<S: Simd, P: Pairs<S>, const R: usize>(
        &self,
        left: Packed,
        row: usize,
        first: usize,
        pairs: &Range<usize>,
    ) -> usize {
        let (panel, across) = self.job.b.panel(first);
        let mut vector = 0;
        while vector < across {
            // SAFETY: the panel has these pairs and vectors.
            vector += unsafe {
                let b = panel.add((pairs.start * across + vector) * PAIR * LANES);
                let at = [row, first + vector * LANES];
                match across - vector {
                    4.. if S::COLUMNS >= 4 => self.tile::<S, P, R, 4>(left, at, b, across, pairs),
                    2.. => self.tile::<S, P, R, 2>(left, at, b, across, pairs),
                    _ => self.tile::<S, P, R, 1>(left, at, b, across, pairs),
                }
            };
        }
        R
    }

    /// Adds the terms of some pairs of rows of `b`, so many vectors apart, to `R` rows and `C` vectors of columns;
    /// gives `C`.
    #[inline(always)]
    unsafe fn tile<S: Simd, P: Pairs<S>, const R: usize, const C: usize>(
        &self,
        left: Packed,
        [row, first]: [usize; 2],
        b: *const u8,
        across: usize,
        pairs: &Range<usize>,
    ) -> usize {
        let (cols, c) = (self.job.b.cols(), self.job.c);
        let width = (cols - first).min(C * LANES);
        let goes_on = self.job.add || pairs.start > 0;
        // SAFETY: each element of `c` belongs to one task; the packed rows have as many pairs, and a tile that is not
        // whole is met in memory of its own.
        unsafe {
            let mut partial = [[0.0_f32; PANEL]; R];
            let mut sums = [[S::splat(0.0); C]; R];
            for r in 0..R {
                if !goes_on {
                    continue;
                }
                let at = (self.rows.start + row + r) * cols + first;
                let mut from = c.part(at..at + width).as_ptr();
                if width < C * LANES {
                    std::ptr::copy_nonoverlapping(from, partial[r].as_mut_ptr(), width);
                    from = partial[r].as_ptr();
                }
                for v in 0..C {
                    sums[r][v] = S::load(from.add(v * LANES));
                }
            }
            let a = left.first.add(row * left.stride);
            for i in 0..pairs.len() {
                let mut of_b = [P::load(b); C];
                for v in 0..C {
                    of_b[v] = P::load(b.add((i * across + v) * PAIR * LANES));
                }
                for r in 0..R {
                    let of_a = P::splat(a.add(r * left.stride + i * PAIR));
                    for v in 0..C {
                        sums[r][v] = P::add(sums[r][v], of_a, of_b[v]);
                    }
                }
            }
            for r in 0..R {
                let at = (self.rows.start + row + r) * cols + first;
                let to = c.part(at..at + width);
                let whole = width == C * LANES;
                let place = if whole { to.as_mut_ptr() } else { partial[r].as_mut_ptr() };
                for v in 0..C {
                    S::store(place.add(v * LANES), sums[r][v]);
                }
                if !whole {
                    to.copy_from_slice(&partial[r][..width]);
                }
            }
        }
        C
    }
}
