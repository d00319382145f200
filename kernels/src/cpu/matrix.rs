//! Weights on a processor: as they are stored, or in 8 bits.

use std::ops::Range;

use super::int8::{Int8Rows, Int8Weight};
use super::{Cpu, Rows};
use crate::linear::cpu;
use crate::{Cost, Matrix, Weight};

/// A weight as [`Cpu`] holds it.
#[derive(Debug)]
pub enum CpuMatrix {
    /// Where it lies, in its stored dtype.
    Stored(Weight),
    /// Rounded to 8 bits and laid out for them: see [`Cpu::int8`].
    Int8(Int8Weight),
}

impl Matrix for CpuMatrix {
    fn rows(&self) -> usize {
        match self {
            Self::Stored(w) => w.rows(),
            Self::Int8(w) => w.rows(),
        }
    }
    fn cols(&self) -> usize {
        match self {
            Self::Stored(w) => w.cols(),
            Self::Int8(w) => w.cols(),
        }
    }
    fn bytes(&self) -> usize {
        match self {
            Self::Stored(w) => w.stored_bytes(),
            Self::Int8(w) => w.bytes(),
        }
    }
}

impl CpuMatrix {
    /// What the product with so many rows costs: weights come from memory once.
    #[must_use]
    pub fn cost(&self, rows: usize) -> Cost {
        Cost::product(rows, [self.rows(), self.cols()], self.bytes())
    }

    /// How many outputs a task computes, for so many rows.
    #[must_use]
    pub fn outputs_of_a_task(&self, cpu: &Cpu, rows: usize) -> usize {
        match self {
            Self::Stored(w) => cpu::outputs_of_a_task(cpu, w, rows),
            Self::Int8(w) => cpu::int8::outputs_of_a_task(cpu, w, rows),
        }
    }

    /// Gives `emit(row, output, sums)` until each of `rows` of `x` had its sums with all of `outputs`,
    /// some neighbouring ones at a time: what one task does of a product.
    ///
    /// ```
    /// use latent_kernels::cpu::{Cpu, CpuMatrix, Inputs};
    /// use latent_kernels::{Dtype, Weight};
    /// let (cpu, w) = (Cpu::new(), Weight::encode(Dtype::F32, [1, 2], &[10.0_f32, 1.0])?);
    /// let w = CpuMatrix::Stored(w);
    /// let x = Inputs::new(&cpu, &w, &[&[1.0, 2.0]]);
    /// w.product(&cpu, &x, 0..1, 0..1, |_, _, sums| assert_eq!(sums, [12.0]));
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    ///
    /// # Panics
    /// When `x` was made for another kind of matrix, has no such rows or is not as wide, or there are no
    /// such outputs; in 8 bits, when the first output is no multiple of 16.
    pub fn product(
        &self,
        cpu: &Cpu,
        x: &Inputs,
        rows: Range<usize>,
        outputs: Range<usize>,
        emit: impl FnMut(usize, usize, &[f32]),
    ) {
        match (self, x) {
            (Self::Stored(w), Inputs::F32(x)) => cpu::product(cpu, x, rows, w, outputs, emit),
            (Self::Int8(w), Inputs::Int8(x)) => {
                cpu::int8::product(cpu, x, rows, w, outputs, emit);
            }
            _ => panic!("inputs were made for a matrix of another kind"),
        }
    }
}

/// Rows of activations as the products with a matrix read them.
#[derive(Debug)]
pub enum Inputs {
    /// For [`CpuMatrix::Stored`].
    F32(Rows),
    /// For [`CpuMatrix::Int8`]: each row is rounded once, however many matrices it meets.
    Int8(Int8Rows),
}

impl Inputs {
    /// Rows for the products with `w` and others of its kind and width.
    ///
    /// # Panics
    /// When a row is not as wide as `w`.
    #[must_use]
    pub fn new(cpu: &Cpu, w: &CpuMatrix, rows: &[&[f32]]) -> Self {
        match w {
            CpuMatrix::Stored(w) => {
                Self::F32(Rows::gather(cpu.pool(), w.cols(), rows).prepared(cpu, w))
            }
            CpuMatrix::Int8(w) => Self::Int8(Int8Rows::new(cpu, w.cols(), rows)),
        }
    }

    /// The same of rows that are packed already.
    ///
    /// # Panics
    /// When the rows are not as wide as `w`.
    #[must_use]
    pub fn of(cpu: &Cpu, w: &CpuMatrix, rows: Rows) -> Self {
        match w {
            CpuMatrix::Stored(w) => Self::F32(rows.prepared(cpu, w)),
            CpuMatrix::Int8(w) => {
                let slices: Vec<&[f32]> =
                    (0..rows.len()).map(|row| &rows.row(row)[..rows.width()]).collect();
                Self::Int8(Int8Rows::new(cpu, w.cols(), &slices))
            }
        }
    }
}
