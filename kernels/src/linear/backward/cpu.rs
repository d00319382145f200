//! The gradients of the linear map on this processor: in `f32` [`add_matmul`](crate::cpu::add_matmul) of parts of the
//! rows, which the threads share; in bf16 where products with the weight are.

#![expect(unsafe_code, reason = "threads that write parts of one result")]

use std::borrow::Cow;

use ndarray::ArrayD;

use super::{check_grad_input, check_grad_weight};
use crate::cpu::matmul::{View, bytes, run};
use crate::cpu::stored::{Bf16, F32};
use crate::cpu::{Cpu, CpuMatrix, Parts};
use crate::reference::{from_vec, rows};
use crate::{Cost, Dtype, KernelError, Matrix, Weight};

pub mod bf16;

/// The rows of a tile, of which a task has a multiple.
const TILE: usize = 6;

/// A weight `[out, in]` as the right side of a product: `c += a w`.
///
/// In `f32` and bf16 it is read where it lies; another dtype is decoded first.
#[derive(Debug)]
pub struct RightFactor<'a>(Cow<'a, Weight>);

impl<'a> RightFactor<'a> {
    /// A stored weight.
    ///
    /// # Errors
    /// [`KernelError::Length`] when it fits into no memory.
    pub fn of(weight: &'a Weight) -> Result<Self, KernelError> {
        if weight.scale().is_none() && matches!(weight.dtype(), Dtype::F32 | Dtype::Bf16) {
            return Ok(Self(Cow::Borrowed(weight)));
        }
        let shape = [weight.rows(), weight.cols()];
        Weight::encode(Dtype::F32, shape, &weight.decode::<f32>()).map(|w| Self(Cow::Owned(w)))
    }

    /// A weight that the backend took over.
    ///
    /// # Errors
    /// [`KernelError::Setting`] for one that was rounded to 8 bits: it has no gradients.
    pub fn of_matrix(matrix: &'a CpuMatrix) -> Result<Self, KernelError> {
        match matrix {
            CpuMatrix::Stored(weight) | CpuMatrix::Bf16(weight) => Self::of(weight),
            CpuMatrix::Int8(_) => {
                let name = "gradients: dtype".into();
                let wanted = "weights that are not rounded to 8 bits".into();
                Err(KernelError::Setting { name, found: "int8".into(), wanted })
            }
        }
    }

    /// Adds `a w` to `m` rows of `c`, which are so many elements apart, on this thread:
    /// [`add_matmul`](crate::cpu::add_matmul).
    ///
    /// # Panics
    /// When an operand does not have all elements.
    pub fn add_product(&self, cpu: &Cpu, a: View<'_>, (c, c_row): (&mut [f32], usize), m: usize) {
        let (b, cols) = (self.0.bytes().as_slice(), self.0.cols());
        let sizes = [m, self.0.rows(), cols];
        match self.0.dtype() {
            Dtype::Bf16 => run::<Bf16>(cpu, a, (b, 2 * cols), (c, c_row), sizes),
            _ => run::<F32>(cpu, a, (b, 4 * cols), (c, c_row), sizes),
        }
    }
}

pub(crate) fn grad_input(
    cpu: &Cpu,
    dy: &ArrayD<f32>,
    w: &CpuMatrix,
) -> Result<ArrayD<f32>, KernelError> {
    let (out, cols) = (w.rows(), w.cols());
    let shape = check_grad_input(dy.shape(), [out, cols])?;
    let tokens = shape[..shape.len() - 1].iter().product();
    cpu.record("linear_grad_input", Cost::product(tokens, [out, cols], w.bytes()));
    if let Some(weight) = bf16::of(w) {
        return from_vec(bf16::grad_input(cpu, dy, weight), &shape);
    }
    let right = RightFactor::of_matrix(w)?;
    let a = View::rows(rows(dy), out);
    let dx = product(cpu, [tokens, out, cols], |first, c, [m, ..]| {
        right.add_product(cpu, a.from_row(first), (c, cols), m);
    });
    from_vec(dx, &shape)
}

pub(crate) fn grad_weight(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    dy: &ArrayD<f32>,
    w: &CpuMatrix,
) -> Result<ArrayD<f32>, KernelError> {
    let (out, cols) = (w.rows(), w.cols());
    check_grad_weight(x.shape(), dy.shape(), [out, cols])?;
    let tokens = dy.shape()[..dy.ndim() - 1].iter().product();
    cpu.record("linear_grad_weight", Cost::product(tokens, [out, cols], 4 * out * cols));
    if bf16::of(w).is_some() {
        return from_vec(bf16::grad_weight(cpu, x, dy, [out, cols]), &[out, cols]);
    }
    let (a, b) = (View::rows(rows(dy), out).transposed(), bytes(rows(x)));
    let dw = product(cpu, [out, tokens, cols], |first, c, sizes| {
        run::<F32>(cpu, a.from_row(first), (b, 4 * cols), (c, cols), sizes);
    });
    from_vec(dw, &[out, cols])
}

/// `[m, n]` zeros to which `add(first, rows, sizes)` adds products, some rows at a time.
fn product(
    cpu: &Cpu,
    [m, k, n]: [usize; 3],
    add: impl Fn(usize, &mut [f32], [usize; 3]) + Sync,
) -> Vec<f32> {
    let mut c = vec![0.0; m * n];
    if k == 0 || n == 0 {
        return c;
    }
    let step = m.div_ceil(4 * cpu.threads()).next_multiple_of(TILE);
    let parts = Parts::new(&mut c);
    cpu.pool().run(m.div_ceil(step.max(1)), &|task| {
        let rows = task * step..m.min((task + 1) * step);
        // SAFETY: each row belongs to one task.
        let c = unsafe { parts.part(rows.start * n..rows.end * n) };
        add(rows.start, c, [rows.len(), k, n]);
    });
    c
}
