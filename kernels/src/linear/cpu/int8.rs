//! Products in 8 bits: both sides are whole numbers, and sums of a block are exact.
//!
//! `y = Σ_block (Σ_column x w) scale_x scale_w`, the blocks added from left to right with `fma`: the same
//! bits for any number of rows and threads, on vectors and on tiles.

use std::cell::Cell;
use std::ops::Range;

use super::Emit;
use crate::cpu::int8::{Int8Rows, Int8Weight, PANEL};
use crate::cpu::simd::{Kernel, LANES, Simd};
use crate::cpu::tiles::{TileKernel, Tiles};
use crate::cpu::{Cpu, Rows};

mod tiled;
mod vectors;

use tiled::OnTiles;
use vectors::OnVectors;

/// The panels whose sums are open at once.
const GROUP: usize = 4;

/// The rows from which tiles are worth it, where there are any.
const TILED: usize = 3;

thread_local! {
    /// Sums that wait for the rest of their terms.
    static SUMS: Cell<Rows> = Cell::default();
}

/// How many outputs a task computes, for so many rows.
pub(crate) fn outputs_of_a_task(cpu: &Cpu, w: &Int8Weight, rows: usize) -> usize {
    if rows < super::WIDE {
        let together = if rows < vectors::MANY { PANEL } else { GROUP * PANEL };
        return super::streamed(cpu, w.rows(), w.cols(), together);
    }
    let share = w.rows() / (2 * cpu.threads());
    share.min(128).next_multiple_of(GROUP * PANEL).max(GROUP * PANEL)
}

/// See [`CpuMatrix::product`](crate::cpu::CpuMatrix::product).
pub(crate) fn product(
    cpu: &Cpu,
    x: &Int8Rows,
    rows: Range<usize>,
    w: &Int8Weight,
    outputs: Range<usize>,
    emit: Emit<'_>,
) {
    assert!(rows.end <= x.len() && outputs.end <= w.rows(), "rows and outputs");
    assert!(x.width() == w.cols(), "width of x");
    assert!(outputs.start.is_multiple_of(PANEL), "the first output of a panel");
    let tiles = cpu.tiles().filter(|_| rows.len() >= TILED);
    let product = Product { terms: Terms { x, rows, w }, outputs, emit };
    match tiles {
        Some(tiles) => tiles.run(cpu.isa(), product),
        None => cpu.isa().run(product),
    }
}

/// What is multiplied.
struct Terms<'a> {
    x: &'a Int8Rows,
    rows: Range<usize>,
    w: &'a Int8Weight,
}

/// A task.
struct Product<'a> {
    terms: Terms<'a>,
    outputs: Range<usize>,
    emit: Emit<'a>,
}

/// How the sums of a group are made.
trait Sums<S> {
    /// All sums of the group of so many panels from `first` on, `[row, GROUP, lane]`.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and of the form, the panels are there, and there is room
    /// for the sums.
    unsafe fn group(terms: &Terms<'_>, first: usize, panels: usize, sums: *mut f32);
}

impl Kernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: by the contract of the trait.
        unsafe { self.all::<S, OnVectors>() }
    }
}

impl TileKernel for Product<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd, T: Tiles>(self) {
        // SAFETY: by the contract of the trait.
        unsafe { self.all::<S, OnTiles<T>>() }
    }
}

impl Product<'_> {
    /// All groups, one after the other.
    ///
    /// # Safety
    /// The processor has the instructions of `S` and of the form.
    #[inline(always)]
    unsafe fn all<S: Simd, H: Sums<S>>(self) {
        let mut memory = SUMS.take();
        let sums = memory.room(self.terms.rows.len() * GROUP * LANES);
        let mut first = self.outputs.start;
        while first < self.outputs.end {
            let outputs = (self.outputs.end - first).min(GROUP * PANEL);
            // SAFETY: by the contract of this function, and there is room for the sums of a group.
            unsafe {
                H::group(&self.terms, first / PANEL, outputs.div_ceil(PANEL), sums);
                for (i, row) in self.terms.rows.clone().enumerate() {
                    let sums = sums.add(i * GROUP * LANES);
                    (self.emit)(row, first, std::slice::from_raw_parts(sums, outputs));
                }
            }
            first += outputs;
        }
        SUMS.set(memory);
    }
}
