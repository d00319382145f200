//! [`gather`](crate::gather) on a device: four elements a unit, unpacked on the way.

use cubecl::prelude::*;

use crate::gpu::unpack::unpack;
use crate::gpu::{Cubes, Gpu, GpuMatrix, GpuTensor, Layout, PACKET, scaled};
use crate::{Cost, KernelError, Matrix};

/// The units of a cube.
const UNITS: usize = 64;

pub(crate) fn gather(gpu: &Gpu, w: &GpuMatrix, ids: &[u32]) -> Result<GpuTensor, KernelError> {
    super::check(w.rows(), ids)?;
    let (rows, cols) = (ids.len(), w.cols());
    let y = gpu.empty(&[rows, cols])?;
    let ids = gpu.upload_words(ids)?;
    let layout = w.layout();
    // Each shard writes the rows that it holds.
    for shard in w.shards() {
        let cubes = Cubes::covering(rows * w.packets(), UNITS);
        let cost = Cost::streaming(rows * (w.row_bytes() + 4 * cols + 4));
        gpu.launch("gather", cubes, cost, |client, count, dim| {
            gather_kernel::launch(
                client,
                count,
                dim,
                layout.packing.words(),
                shard.arg(layout),
                w.scales_arg(),
                ids.arg(4),
                y.arg(),
                rows,
                cols,
                shard.first,
                shard.rows,
                w.scales_across(),
                layout,
            );
        })?;
    }
    Ok(y)
}

#[cube(launch)]
fn gather_kernel<W: Size>(
    words: &[Vector<u32, W>],
    scales: &[f32],
    ids: &[u32],
    y: &mut [f32],
    rows: usize,
    cols: usize,
    first: usize,
    shard_rows: usize,
    scales_across: usize,
    #[comptime] layout: Layout,
) {
    let packets = cols.div_ceil(PACKET);
    let row = ABSOLUTE_POS / packets;
    let packet = ABSOLUTE_POS % packets;
    if row < rows {
        let id = ids[row] as usize;
        if id >= first && id < first + shard_rows {
            let quad = unpack::<W>(words[(id - first) * packets + packet], layout.packing);
            let quad = scaled(quad, scales, 0, scales_across, id, packet, layout);
            #[unroll]
            for i in 0..PACKET {
                let col = packet * PACKET + i;
                if col < cols {
                    y[row * cols + col] = quad.extract(i);
                }
            }
        }
    }
}
