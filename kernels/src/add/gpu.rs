//! [`add`](crate::add) on a device: four elements a unit.

use cubecl::prelude::*;

use crate::gpu::{Cubes, Gpu, GpuTensor, Quad};
use crate::{Cost, KernelError, Tensor};

/// The units of a cube.
const UNITS: usize = 256;

pub(crate) fn add(gpu: &Gpu, a: &GpuTensor, b: &GpuTensor) -> Result<GpuTensor, KernelError> {
    super::check(a.shape(), b.shape())?;
    let y = gpu.empty(a.shape())?;
    let elements = y.elements();
    let cubes = Cubes::covering(elements.div_ceil(4), UNITS);
    gpu.launch("add", cubes, Cost::streaming(12 * elements), |client, count, dim| {
        add_kernel::launch(client, count, dim, a.arg4(), b.arg4(), y.arg4());
    })?;
    Ok(y)
}

#[cube(launch)]
fn add_kernel(a: &[Quad], b: &[Quad], y: &mut [Quad]) {
    if ABSOLUTE_POS < y.len() {
        y[ABSOLUTE_POS] = a[ABSOLUTE_POS] + b[ABSOLUTE_POS];
    }
}
