//! [`columns`](crate::columns) on a device: one kernel that copies a block of columns.

use cubecl::prelude::*;

use crate::gpu::{Cubes, Gpu, GpuTensor, PACKET, rows_of};
use crate::{Cost, KernelError, Tensor};

/// The units of a cube.
const UNITS: usize = 256;

pub(crate) fn split(
    gpu: &Gpu,
    x: &GpuTensor,
    at: usize,
) -> Result<(GpuTensor, GpuTensor), KernelError> {
    super::check_split(x.shape(), at)?;
    let (rows, width) = rows_of(x);
    let part = |from: usize, columns: usize| {
        let mut shape = x.shape().to_vec();
        shape[x.shape().len() - 1] = columns;
        let y = gpu.empty(&shape)?;
        copy_columns(gpu, x, from, &y, 0, [rows, columns])?;
        Ok(y)
    };
    Ok((part(0, at)?, part(at, width - at)?))
}

pub(crate) fn join(gpu: &Gpu, a: &GpuTensor, b: &GpuTensor) -> Result<GpuTensor, KernelError> {
    super::check_join(a.shape(), b.shape())?;
    let mut shape = a.shape().to_vec();
    let last = shape.len() - 1;
    let (left, right) = (shape[last], b.shape()[last]);
    shape[last] = left + right;
    let rows = shape[..last].iter().product();
    let y = gpu.empty(&shape)?;
    copy_columns(gpu, a, 0, &y, 0, [rows, left])?;
    copy_columns(gpu, b, 0, &y, left, [rows, right])?;
    Ok(y)
}

pub(crate) fn select(gpu: &Gpu, x: &GpuTensor, rows: &[usize]) -> Result<GpuTensor, KernelError> {
    super::check_select(x.shape(), rows)?;
    let mut shape = x.shape().to_vec();
    shape[0] = rows.len();
    let width: usize = shape[1..].iter().product();
    let y = gpu.empty(&shape)?;
    let index = |&row: &usize| u32::try_from(row);
    let words: Result<Vec<u32>, _> = rows.iter().map(index).collect();
    let words = words.map_err(|_| KernelError::limit("select: rows", x.shape()[0], 1 << 32))?;
    let chosen = gpu.upload_words(&words)?;
    let cost = Cost::streaming(8 * y.elements() + 4 * rows.len());
    gpu.launch("select", Cubes::covering(y.elements(), UNITS), cost, |client, count, dim| {
        let (x, chosen, y) = (x.arg(), chosen.arg(4), y.arg());
        select_kernel::launch(client, count, dim, x, chosen, y, rows.len(), width);
    })?;
    Ok(y)
}

/// `x` `[.., cols]` with zeros behind each row up to a whole number of packets; as it is where a row
/// is one already.
///
/// # Errors
/// [`KernelError::DeviceLimit`] when the padded array is larger than a buffer of the device may be.
pub fn in_packets(gpu: &Gpu, x: &GpuTensor, cols: usize) -> Result<GpuTensor, KernelError> {
    let width = cols.next_multiple_of(PACKET);
    if width == cols {
        return Ok(x.clone());
    }
    let rows = x.elements() / cols;
    let y = gpu.filled(0.0, &[rows, width])?;
    copy_columns(gpu, x, 0, &y, 0, [rows, cols])?;
    Ok(y)
}

/// Copies columns `from..` of `x` to columns `to..` of `y`.
fn copy_columns(
    gpu: &Gpu,
    x: &GpuTensor,
    from: usize,
    y: &GpuTensor,
    to: usize,
    [rows, columns]: [usize; 2],
) -> Result<(), KernelError> {
    let elements = rows * columns;
    let cost = Cost::streaming(8 * elements);
    let width = |t: &GpuTensor| t.shape().last().copied().unwrap_or(1);
    gpu.launch("columns", Cubes::covering(elements, UNITS), cost, |client, count, dim| {
        let (from_width, to_width) = (width(x), width(y));
        columns_kernel::launch(
            client,
            count,
            dim,
            x.arg(),
            y.arg(),
            rows,
            columns,
            from,
            from_width,
            to,
            to_width,
        );
    })
}

#[cube(launch)]
fn columns_kernel(
    x: &[f32],
    y: &mut [f32],
    rows: usize,
    columns: usize,
    from: usize,
    from_width: usize,
    to: usize,
    to_width: usize,
) {
    let row = ABSOLUTE_POS / columns;
    let column = ABSOLUTE_POS % columns;
    if row < rows {
        y[row * to_width + to + column] = x[row * from_width + from + column];
    }
}

#[cube(launch)]
fn select_kernel(x: &[f32], chosen: &[u32], y: &mut [f32], rows: usize, width: usize) {
    let row = ABSOLUTE_POS / width;
    if row < rows {
        y[ABSOLUTE_POS] = x[chosen[row] as usize * width + ABSOLUTE_POS % width];
    }
}
