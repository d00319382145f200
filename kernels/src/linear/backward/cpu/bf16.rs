//! The gradients of the linear map where products are in bf16: both sides are rounded to the nearest, sums are `f32`.

use ndarray::ArrayD;

use crate::cpu::{Bf16Columns, Cpu, CpuMatrix, View, bf16_products};
use crate::reference::rows;
use crate::{Dtype, Weight};

/// The weight of a matrix whose gradients are products in bf16: one that is stored in it and meets activations in it.
///
/// Weights in e4m3 have gradients in `f32`: with its scale such a weight is no bf16.
#[must_use]
pub fn of(matrix: &CpuMatrix) -> Option<&Weight> {
    match matrix {
        CpuMatrix::Bf16(weight) if weight.dtype() == Dtype::Bf16 => Some(weight),
        CpuMatrix::Stored(_) | CpuMatrix::Bf16(_) | CpuMatrix::Int8(_) => None,
    }
}

/// A weight `[out, in]` in bf16 as the right side of `dx = dy w`.
#[must_use]
pub fn right_side(cpu: &Cpu, weight: &Weight) -> Bf16Columns {
    Bf16Columns::of_bf16(cpu, weight.bytes().as_slice(), weight.cols())
}

/// `dy w`.
pub(super) fn grad_input(cpu: &Cpu, dy: &ArrayD<f32>, weight: &Weight) -> Vec<f32> {
    let tokens: usize = dy.shape()[..dy.ndim() - 1].iter().product();
    let (a, b) = (View::rows(rows(dy), weight.rows()), right_side(cpu, weight));
    one(cpu, a, tokens, &b)
}

/// `dyᵀ x`, `[out, in]`.
pub(super) fn grad_weight(
    cpu: &Cpu,
    x: &ArrayD<f32>,
    dy: &ArrayD<f32>,
    [out, cols]: [usize; 2],
) -> Vec<f32> {
    let (a, b) = (View::rows(rows(dy), out).transposed(), Bf16Columns::new(cpu, rows(x), cols));
    one(cpu, a, out, &b)
}

fn one(cpu: &Cpu, a: View<'_>, m: usize, b: &Bf16Columns) -> Vec<f32> {
    bf16_products(cpu, &[(a, m, b)]).swap_remove(0)
}
