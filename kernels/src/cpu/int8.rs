//! Weights and activations as whole numbers of 8 bits, each row's 64 columns with a scale of their own.
//!
//! A block's largest magnitude becomes 127; others are rounded to the nearest step, ties to even. A
//! block below `1e-30` is all zeros, and one with a NaN or an infinity has a scale that is NaN: so has
//! every sum that it goes into.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::simd::{Kernel, LANES, Simd};
use super::stored::{Stored, widen_row};
use super::{Cpu, Isa, Parts};
use crate::Weight;

/// The columns that share a scale.
pub(crate) const BLOCK: usize = 64;

/// The outputs whose weights lie together.
pub(crate) const PANEL: usize = LANES;

/// The bytes of a stored weight that are packed before they are given back.
const PORTION: usize = 1 << 22;

/// Blocks whose largest magnitude is below are zeros: the inverse of their step may be no number.
const SMALLEST: f32 = 1e-30;

/// The weights of [`PANEL`] outputs and [`BLOCK`] columns, as AVX-512 VNNI and AMX want them.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Tile {
    /// `[column / 4, output, column % 4]`, each 128 above its value.
    pub(crate) weights: [[[u8; 4]; PANEL]; BLOCK / 4],
    pub(crate) scales: [f32; PANEL],
}

/// A weight in 8 bits: 8.5 bits for each element, scales included.
#[derive(Debug)]
pub struct Int8Weight {
    /// `[row / 16, column / 64]`; what lies outside is 0.
    tiles: Vec<Tile>,
    rows: usize,
    cols: usize,
}

impl Int8Weight {
    /// Rounds a weight, with all threads.
    ///
    /// ```
    /// use latent_kernels::cpu::{Cpu, Int8Weight};
    /// use latent_kernels::{Dtype, Weight};
    /// let w = Weight::encode(Dtype::Bf16, [1, 3], &[127.0_f32, -2.25, 0.5])?;
    /// let mut row = [0.0; 3];
    /// Int8Weight::new(&Cpu::new(), &w).decode_row(0, &mut row);
    /// assert_eq!(row, [127.0, -2.0, 0.0]);
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    #[must_use]
    pub fn new(cpu: &Cpu, w: &Weight) -> Self {
        let (rows, cols) = (w.rows(), w.cols());
        let across = cols.div_ceil(BLOCK);
        let count = rows.div_ceil(PANEL) * across;
        let mut tiles = Vec::with_capacity(count);
        let stored = Stored::of(w);
        let room = Parts::new(&mut tiles.spare_capacity_mut()[..count]);
        // What was read is given back portion by portion: a large matrix is never held twice.
        let row_bytes = cols * w.dtype().bytes();
        let portion = PORTION.div_ceil(PANEL * row_bytes.max(1)) * PANEL;
        for first in (0..rows).step_by(portion) {
            let end = rows.min(first + portion);
            cpu.pool().run((end - first).div_ceil(PANEL), &|panel| {
                let panel = first / PANEL + panel;
                // SAFETY: each panel belongs to one task.
                let tiles = unsafe { room.part(panel * across..(panel + 1) * across) };
                pack(cpu.isa(), (w, stored), panel * PANEL, tiles);
            });
            w.bytes().release(first * row_bytes..end * row_bytes);
        }
        // SAFETY: every panel was written.
        unsafe { tiles.set_len(count) };
        Self { tiles, rows, cols }
    }

    /// The number of rows: output features.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns: input features.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tiles.len() * size_of::<Tile>()
    }

    /// The tiles of a panel, from left to right.
    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize) -> &[Tile] {
        let across = self.cols.div_ceil(BLOCK);
        &self.tiles[panel * across..(panel + 1) * across]
    }

    /// The values of a row.
    ///
    /// # Panics
    /// When `row` is not below [`rows`](Self::rows) or `out` is not [`cols`](Self::cols) long.
    pub fn decode_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "a row");
        let lane = row % PANEL;
        for (tile, out) in self.panel(row / PANEL).iter().zip(out.chunks_mut(BLOCK)) {
            for (column, out) in out.iter_mut().enumerate() {
                let stored = tile.weights[column / 4][lane][column % 4];
                *out = (f32::from(stored) - 128.0) * tile.scales[lane];
            }
        }
    }
}

/// Writes the tiles of the rows of `w` from `first` on.
fn pack(
    isa: Isa,
    (w, stored): (&Weight, Option<Stored<'_>>),
    first: usize,
    tiles: &mut [MaybeUninit<Tile>],
) {
    let nothing = Tile { weights: [[[128; 4]; PANEL]; BLOCK / 4], scales: [0.0; PANEL] };
    for tile in &mut *tiles {
        tile.write(nothing);
    }
    let mut row = vec![0.0; tiles.len() * BLOCK];
    for lane in 0..PANEL.min(w.rows() - first) {
        widen_row(isa, w, stored, first + lane, &mut row[..w.cols()]);
        for (tile, values) in tiles.iter_mut().zip(row.as_chunks::<BLOCK>().0) {
            // SAFETY: it was written above.
            let tile = unsafe { tile.assume_init_mut() };
            let (numbers, scale) = isa.run(Round(values));
            for (column, four) in numbers.as_chunks::<4>().0.iter().enumerate() {
                tile.weights[column][lane] = four.map(|v| v.cast_unsigned() ^ 128);
            }
            tile.scales[lane] = scale;
        }
    }
}

/// Activations in 8 bits.
#[derive(Debug)]
pub(crate) struct Int8Rows {
    /// `[row, column]`, zeros behind the last column.
    numbers: Vec<[i8; BLOCK]>,
    /// `[row, block]`
    scales: Vec<f32>,
    /// What the sums of a block begin with, since weights are stored 128 above their values.
    starts: Vec<i32>,
    len: usize,
    width: usize,
}

impl Int8Rows {
    /// Rounds rows of `width` elements, with all threads.
    ///
    /// # Panics
    /// When a row has another length.
    pub(crate) fn new(cpu: &Cpu, width: usize, rows: &[&[f32]]) -> Self {
        let across = width.div_ceil(BLOCK);
        let blocks = rows.len() * across;
        let (mut numbers, mut scales, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let parts = (
            Parts::unwritten(&mut numbers, blocks),
            Parts::unwritten(&mut scales, blocks),
            Parts::unwritten(&mut starts, blocks),
        );
        // As many rows to a task as are worth its start.
        let step = (1_usize << 14).div_ceil(width.max(1));
        cpu.pool().run(rows.len().div_ceil(step), &|task| {
            for row in task * step..rows.len().min((task + 1) * step) {
                let at = row * across..(row + 1) * across;
                // SAFETY: each row belongs to one task.
                let (numbers, scales, starts) = unsafe {
                    (parts.0.part(at.clone()), parts.1.part(at.clone()), parts.2.part(at))
                };
                assert!(rows[row].len() == width, "the width of a row");
                cpu.isa().run(RoundRow { row: rows[row], numbers, scales, starts });
            }
        });
        // SAFETY: tasks wrote all blocks of all rows.
        unsafe {
            numbers.set_len(blocks);
            scales.set_len(blocks);
            starts.set_len(blocks);
        }
        Self { numbers, scales, starts, len: rows.len(), width }
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The elements of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The numbers of neighbouring rows.
    #[inline(always)]
    pub(crate) fn numbers(&self, rows: Range<usize>) -> &[[i8; BLOCK]] {
        let across = self.width.div_ceil(BLOCK);
        &self.numbers[rows.start * across..rows.end * across]
    }

    /// The scales and starts of the blocks of neighbouring rows.
    #[inline(always)]
    pub(crate) fn scales(&self, rows: Range<usize>) -> (&[f32], &[i32]) {
        let across = self.width.div_ceil(BLOCK);
        let at = rows.start * across..rows.end * across;
        (&self.scales[at.clone()], &self.starts[at])
    }

    /// The numbers, scales and starts of a row's blocks.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> (&[[i8; BLOCK]], &[f32], &[i32]) {
        let across = self.width.div_ceil(BLOCK);
        let at = row * across..(row + 1) * across;
        (&self.numbers[at.clone()], &self.scales[at.clone()], &self.starts[at])
    }
}

/// A block rounded, and its scale.
struct Round<'a>(&'a [f32; BLOCK]);

impl Kernel for Round<'_> {
    type Output = ([i8; BLOCK], f32);

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        // SAFETY: by the contract of the trait; a block is four vectors.
        unsafe {
            let zero = S::splat(0.0);
            let (mut largest, mut spoiled) = (zero, zero);
            for i in 0..BLOCK / LANES {
                let v = S::load(self.0.as_ptr().add(i * LANES));
                largest = S::max(S::max(v, S::sub(zero, v)), largest);
                spoiled = S::fma(v, zero, spoiled);
            }
            let mut lanes = [0.0_f32; LANES];
            S::store(lanes.as_mut_ptr(), largest);
            let mut half = LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    let other = lanes[lane + half];
                    lanes[lane] = if other > lanes[lane] { other } else { lanes[lane] };
                }
                half /= 2;
            }
            let top = lanes[0];
            let (step, inverse) =
                if top < SMALLEST { (0.0, 0.0) } else { (top / 127.0, 127.0 / top) };
            let mut numbers = [0; BLOCK];
            for i in 0..BLOCK / LANES {
                let v = S::load(self.0.as_ptr().add(i * LANES));
                S::store_i8(numbers.as_mut_ptr().add(i * LANES), S::mul(v, S::splat(inverse)));
            }
            (numbers, step + S::sum(spoiled))
        }
    }
}

/// A row of activations, block by block.
struct RoundRow<'a> {
    row: &'a [f32],
    numbers: &'a mut [[i8; BLOCK]],
    scales: &'a mut [f32],
    starts: &'a mut [i32],
}

impl Kernel for RoundRow<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut last = [0.0; BLOCK];
        for block in 0..self.numbers.len() {
            let from = &self.row[block * BLOCK..];
            let values = match from.first_chunk() {
                Some(values) => values,
                None => {
                    last[..from.len()].copy_from_slice(from);
                    &last
                }
            };
            // SAFETY: by the contract of the trait.
            let (numbers, scale) = unsafe { Round(values).run::<S>() };
            let mut sum = 0;
            for number in numbers {
                sum += i32::from(number);
            }
            self.numbers[block] = numbers;
            self.scales[block] = scale;
            self.starts[block] = -128 * sum;
        }
    }
}
