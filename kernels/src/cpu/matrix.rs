//! Weights on a processor, and what their products are computed in.

use std::ops::Range;

use super::bf16::Bf16Rows;
use super::int8::{Int8Rows, Int8Weight};
use super::split::Split;
use super::{Cpu, Rows};
use crate::linear::cpu::{self, tiles_for};
use crate::{Cost, Matrix, Weight};

/// A weight as [`Cpu`] holds it.
#[derive(Debug)]
pub enum CpuMatrix {
    /// Where it lies, in its stored dtype; activations are `f32`.
    Stored(Weight),
    /// The same of a weight in bf16 or in e4m3; activations are rounded when they meet it: see [`Cpu::bf16`].
    Bf16(Weight),
    /// Rounded to 8 bits and laid out for them: see [`Cpu::int8`].
    Int8(Int8Weight),
}

impl Matrix for CpuMatrix {
    fn rows(&self) -> usize {
        match self {
            Self::Stored(w) | Self::Bf16(w) => w.rows(),
            Self::Int8(w) => w.rows(),
        }
    }
    fn cols(&self) -> usize {
        match self {
            Self::Stored(w) | Self::Bf16(w) => w.cols(),
            Self::Int8(w) => w.cols(),
        }
    }
    fn bytes(&self) -> usize {
        match self {
            Self::Stored(w) | Self::Bf16(w) => w.stored_bytes(),
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
            Self::Stored(w) | Self::Bf16(w) => cpu::outputs_of_a_task(cpu, w, rows),
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
    /// let x = Inputs::new(&cpu, &[&w], &[&[1.0, 2.0]]);
    /// w.product(&cpu, &x, 0..1, 0..1, |_, _, sums| assert_eq!(sums, [12.0]));
    /// # Ok::<(), latent_kernels::KernelError>(())
    /// ```
    ///
    /// # Panics
    /// When `x` was made for other kinds of matrices, has no such rows or is not as wide, or there are no
    /// such outputs; in 8 bits, when the first output is no multiple of 16.
    pub fn product(
        &self,
        cpu: &Cpu,
        x: &Inputs,
        rows: Range<usize>,
        outputs: Range<usize>,
        mut emit: impl FnMut(usize, usize, &[f32]),
    ) {
        const MADE: &str = "inputs were made for matrices of other kinds";
        match self {
            Self::Stored(w) => {
                cpu::product(cpu, x.f32.as_ref().expect(MADE), rows, w, outputs, &mut emit);
            }
            Self::Bf16(w) => match tiles_for(cpu, w) {
                Some(tiles) => {
                    let x = x.tiles.as_ref().expect(MADE);
                    cpu::product_on_tiles(cpu, tiles, x, rows, w, outputs, &mut emit);
                }
                None => {
                    cpu::bf16::product(
                        cpu,
                        x.bf16.as_ref().expect(MADE),
                        rows,
                        w,
                        outputs,
                        &mut emit,
                    );
                }
            },
            Self::Int8(w) => {
                cpu::int8::product(cpu, x.int8.as_ref().expect(MADE), rows, w, outputs, &mut emit);
            }
        }
    }
}

/// Rows of activations as the products with some matrices read them: rounded once, however many they meet.
#[derive(Debug)]
pub struct Inputs {
    f32: Option<Rows>,
    bf16: Option<Bf16Rows>,
    /// Rounded to bf16, as tiles take them.
    tiles: Option<Split>,
    int8: Option<Int8Rows>,
}

impl Inputs {
    /// Rows for the products with `matrices`, and with others of their kinds and width.
    ///
    /// # Panics
    /// When there is no matrix, or a row is not as wide as the first.
    #[must_use]
    pub fn new(cpu: &Cpu, matrices: &[&CpuMatrix], rows: &[&[f32]]) -> Self {
        Self::bounded(cpu, matrices, rows, &[])
    }

    /// The same where rows from each of the ascending `bounds` on meet other matrices than those before: products
    /// with the rows between two bounds are fastest.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn bounded(cpu: &Cpu, matrices: &[&CpuMatrix], rows: &[&[f32]], bounds: &[usize]) -> Self {
        let width = matrices[0].cols();
        let any = |kind: fn(&Cpu, &CpuMatrix) -> bool| matrices.iter().any(|w| kind(cpu, w));
        Self {
            f32: stored(matrices).map(|w| Rows::gather(cpu.pool(), width, rows).prepared(cpu, w)),
            bf16: any(|cpu, w| matches!(w, CpuMatrix::Bf16(w) if tiles_for(cpu, w).is_none()))
                .then(|| Bf16Rows::new(cpu, width, rows)),
            tiles: any(|cpu, w| matches!(w, CpuMatrix::Bf16(w) if tiles_for(cpu, w).is_some()))
                .then(|| Split::rounded(cpu, width, rows, bounds)),
            int8: any(|_, w| matches!(w, CpuMatrix::Int8(_)))
                .then(|| Int8Rows::new(cpu, width, rows)),
        }
    }
}

/// The first of them that meets activations in `f32`.
fn stored<'a>(matrices: &[&'a CpuMatrix]) -> Option<&'a Weight> {
    matrices.iter().find_map(|w| match w {
        CpuMatrix::Stored(w) => Some(w),
        CpuMatrix::Bf16(_) | CpuMatrix::Int8(_) => None,
    })
}
