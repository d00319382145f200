//! [`swiglu`](crate::swiglu) on a device: a unit does an element.

#![expect(missing_docs, reason = "the kernel macro makes public items without documentation")]

use cubecl::prelude::*;

use crate::gpu::{Cubes, Gpu, GpuTensor};
use crate::{Cost, KernelError, Tensor};

/// The units of a cube.
const UNITS: usize = 256;

pub(crate) fn swiglu(
    gpu: &Gpu,
    gate: &GpuTensor,
    up: &GpuTensor,
) -> Result<GpuTensor, KernelError> {
    super::check(gate.shape(), up.shape())?;
    let y = gpu.empty(gate.shape())?;
    let elements = y.elements();
    let cubes = Cubes::covering(elements, UNITS);
    gpu.launch("swiglu", cubes, Cost::streaming(12 * elements), |client, count, dim| {
        swiglu_kernel::launch(client, count, dim, gate.arg(), up.arg(), y.arg());
    })?;
    Ok(y)
}

#[cube(launch)]
fn swiglu_kernel(gate: &[f32], up: &[f32], y: &mut [f32]) {
    if ABSOLUTE_POS < y.len() {
        y[ABSOLUTE_POS] = silu(gate[ABSOLUTE_POS]) * up[ABSOLUTE_POS];
    }
}

/// `z / (1 + exp(-z))`, and its limit 0 from where the exponential overflows.
#[cube]
pub fn silu(z: f32) -> f32 {
    // The quotient of -∞ and ∞ would be NaN.
    select(z < f32::new(-88.0), f32::new(-0.0), z / (f32::new(1.0) + f32::exp(-z)))
}
