//! [`rope`](crate::rope) on a device: a unit turns a pair or copies an element.

use cubecl::prelude::*;

use crate::gpu::{Buffer, Cubes, Gpu, GpuTensor};
use crate::{Cost, KernelError, PairLayout, RopeTable, Scalar, Tensor};

/// The units of a cube.
const UNITS: usize = 128;

pub(crate) fn rope(
    gpu: &Gpu,
    x: &GpuTensor,
    table: &RopeTable,
    positions: &[usize],
) -> Result<GpuTensor, KernelError> {
    super::check(x.shape(), table, positions.len())?;
    let y = gpu.empty(x.shape())?;
    let (heads, dim) = (x.shape()[1], x.shape()[2]);
    let pairs = table.frequencies().len();
    let turns = turns(gpu, table, positions)?;
    let interleaved = table.layout() == PairLayout::Interleaved;
    let cubes = Cubes::covering(x.elements().checked_div(dim).unwrap_or(0) * (dim - pairs), UNITS);
    let cost = Cost::streaming(8 * x.elements() + turns.bytes());
    gpu.launch("rope", cubes, cost, |client, count, cube| {
        let (x, turns, y) = (x.arg(), turns.arg(4), y.arg());
        rope_kernel::launch(client, count, cube, x, turns, y, heads, dim, pairs, interleaved);
    })?;
    Ok(y)
}

/// The cosines and sines of each position, `[token, pair, 2]`, computed in `f64`: what a kernel that
/// rotates reads.
///
/// # Errors
/// [`KernelError::DeviceLimit`] when the device has no buffers so large.
pub fn turns(gpu: &Gpu, table: &RopeTable, positions: &[usize]) -> Result<Buffer, KernelError> {
    let halves = |bits: u64| [(bits >> 32) as u32, (bits & 0xffff_ffff) as u32];
    let settings = table.frequencies().iter().chain([&table.attention_factor]);
    let key = positions.iter().map(|&p| p as u64).chain(settings.map(|f| f.to_bits()));
    gpu.upload_known("turns", key.flat_map(halves).collect(), || {
        let pair = |p: usize, i: usize| table.cos_sin(p, i);
        let of = |&p: &usize| (0..table.frequencies().len()).map(move |i| pair(p, i));
        positions
            .iter()
            .flat_map(of)
            .flat_map(|(cos, sin)| [cos, sin])
            .flat_map(|v| <f32 as Scalar>::from_f64(v).to_le_bytes())
            .collect()
    })
}

#[cube(launch)]
fn rope_kernel(
    x: &[f32],
    turns: &[f32], // [token, pair, 2]
    y: &mut [f32],
    heads: usize,
    dim: usize,
    pairs: usize,
    #[comptime] interleaved: bool,
) {
    let still = dim - 2 * pairs;
    let work = still + pairs;
    let head = ABSOLUTE_POS / work;
    let part = ABSOLUTE_POS % work;
    let base = head * dim;
    if base < x.len() {
        if part < still {
            y[base + part] = x[base + part];
        } else {
            let pair = part - still;
            let (first, second) = if comptime!(interleaved) {
                (base + still + 2 * pair, base + still + 2 * pair + 1)
            } else {
                (base + still + pair, base + still + pair + pairs)
            };
            let turn = (head / heads * pairs + pair) * 2;
            let (cos, sin) = (turns[turn], turns[turn + 1]);
            let (a, b) = (x[first], x[second]);
            y[first] = a * cos - b * sin;
            y[second] = b * cos + a * sin;
        }
    }
}
