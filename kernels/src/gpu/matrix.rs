//! Weights on a device, packed as they are stored.

#![expect(missing_docs, reason = "the kernel macro makes public items without documentation")]

use cubecl::prelude::*;

use super::unpack::{PACKET, Packing, Quad};
use super::{Buffer, Gpu};
use crate::{Dtype, KernelError, Matrix, Weight};

/// Weights of equal shape on a device, in their stored dtype: packed into words of 32 bits, unpacked
/// in registers and nowhere else.
///
/// One weight is a matrix; several are a stack, one below the other. A row is filled up with zeros
/// to a whole number of packets of four elements. A weight of `f64` is rounded to `f32`. Where a
/// device limits its buffers, rows lie in several shards.
#[derive(Debug, Clone)]
pub struct GpuMatrix {
    rows: usize,
    cols: usize,
    layout: Layout,
    shards: Vec<Shard>,
    scales: Buffer,
}

/// Consecutive rows of a stack that lie in one buffer.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The first row, counted over all weights of the stack.
    pub first: usize,
    /// The number of rows.
    pub rows: usize,
    words: Buffer,
}

/// How a kernel reads a weight: what its code depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The elements.
    pub packing: Packing,
    /// Rows and columns of a block with one scale, where there are scales.
    pub block: Option<(usize, usize)>,
}

impl Shard {
    /// The argument of a kernel that reads packets.
    #[must_use]
    pub fn arg(&self, layout: Layout) -> BufferArg {
        self.words.arg(4 * layout.packing.words())
    }
}

impl GpuMatrix {
    /// Copies `weight` to the device. A shard holds any number of its rows.
    pub(super) fn new(gpu: &Gpu, weight: &Weight) -> Result<Self, KernelError> {
        Self::in_shards(gpu, std::slice::from_ref(weight), 1)
    }

    /// Copies weights of equal shape, dtype and blocks to the device, one below the other. A shard
    /// holds whole weights.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when they are not alike or there is none, [`KernelError::DeviceLimit`]
    /// when one is larger than a buffer of the device may be.
    pub fn stack(gpu: &Gpu, weights: &[Weight]) -> Result<Self, KernelError> {
        Self::in_shards(gpu, weights, weights.first().map_or(1, Weight::rows))
    }

    fn in_shards(gpu: &Gpu, weights: &[Weight], unit: usize) -> Result<Self, KernelError> {
        let Some(one) = weights.first() else {
            return Err(KernelError::shape("stack: weights", &[0], "want at least one"));
        };
        let (rows, cols, block) = (one.rows(), one.cols(), one.scale().map(|s| s.block));
        let alike = |w: &&Weight| {
            (w.rows(), w.cols(), w.dtype()) == (rows, cols, one.dtype())
                && w.scale().map(|s| s.block) == block
        };
        if let Some(other) = weights.iter().find(|w| !alike(w)) {
            let wanted = format!("want [{rows}, {cols}] in {}, blocks {block:?}", one.dtype());
            return Err(KernelError::shape("stack", &[other.rows(), other.cols()], wanted));
        }
        let layout = Layout {
            packing: Packing::of(one.dtype()),
            block: block.map(|[height, width]| (height, width)),
        };
        let row_bytes = row_bytes(layout, cols);
        let fitting = gpu.limits().buffer_bytes / row_bytes.max(1) / unit.max(1) * unit.max(1);
        if fitting == 0 && rows * cols > 0 {
            let (name, limit) = ("bytes of a weight".to_string(), gpu.limits().buffer_bytes);
            return Err(KernelError::limit(name, row_bytes * unit, limit));
        }
        let total = rows * weights.len();
        let mut shards = Vec::new();
        for first in (0..total).step_by(fitting.max(1)) {
            let end = total.min(first + fitting);
            let mut bytes = Vec::with_capacity((end - first) * row_bytes);
            for row in first..end {
                let w = &weights[row / rows];
                pack_row(w, row % rows, row_bytes, &mut bytes);
                if row % rows == rows - 1 {
                    w.bytes().release(0..w.bytes().as_slice().len());
                }
            }
            shards.push(Shard { first, rows: end - first, words: gpu.upload_bytes(bytes)? });
        }
        let scales = weights.iter().filter_map(Weight::scale).flat_map(|s| &s.values);
        let scales = gpu.upload_bytes(scales.flat_map(|s| s.to_le_bytes()).collect())?;
        Ok(Self { rows, cols, layout, shards, scales })
    }

    /// How kernels read it.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The buffers that its rows lie in, in order.
    #[must_use]
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The argument of a kernel that reads scales: of all blocks of the first weight, row by row,
    /// then of the next.
    #[must_use]
    pub fn scales_arg(&self) -> BufferArg {
        self.scales.arg(4)
    }

    /// The number of scales of a row of blocks; 0 without scales.
    #[must_use]
    pub fn scales_across(&self) -> usize {
        self.layout.block.map_or(0, |(_, width)| self.cols.div_ceil(width))
    }

    /// The number of scales of one weight; 0 without scales.
    #[must_use]
    pub fn scales_per_weight(&self) -> usize {
        self.layout.block.map_or(0, |(height, _)| self.rows.div_ceil(height) * self.scales_across())
    }

    /// The bytes of a row of packets.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        row_bytes(self.layout, self.cols)
    }

    /// The packets of a row.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.cols.div_ceil(PACKET)
    }
}

impl Matrix for GpuMatrix {
    fn rows(&self) -> usize {
        self.rows
    }
    fn cols(&self) -> usize {
        self.cols
    }
    fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.words.bytes()).sum::<usize>() + self.scales.bytes()
    }
}

fn row_bytes(layout: Layout, cols: usize) -> usize {
    cols.div_ceil(PACKET) * layout.packing.words() * 4
}

/// Appends a row of `weight`, filled up to `row_bytes`.
fn pack_row(weight: &Weight, row: usize, row_bytes: usize, out: &mut Vec<u8>) {
    let end = out.len() + row_bytes;
    if weight.dtype() == Dtype::F64 {
        let mut values = vec![0.0_f32; weight.cols()];
        weight.dtype().decode(row_of(weight, row), &mut values);
        out.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    } else {
        out.extend_from_slice(row_of(weight, row));
    }
    out.resize(end, 0);
}

/// The stored bytes of a row.
fn row_of(weight: &Weight, row: usize) -> &[u8] {
    let width = weight.cols() * weight.dtype().bytes();
    &weight.bytes().as_slice()[row * width..][..width]
}

/// A packet of row `row` of a weight times the scales of its blocks, each product rounded to `f32`.
///
/// `scales` begin at `base`, with `across` of them in a row of blocks.
#[cube]
pub fn scaled(
    quad: Quad,
    scales: &[f32],
    base: usize,
    across: usize,
    row: usize,
    packet: usize,
    #[comptime] layout: Layout,
) -> Quad {
    if comptime!(layout.block.is_some()) {
        let (height, width) = comptime!(layout.block.unwrap_or((1, 1)));
        let block_row = base + row / height * across;
        if comptime!(width % PACKET == 0) {
            quad * Quad::new(scales[block_row + packet * PACKET / width])
        } else {
            let mut result = quad;
            #[unroll]
            for i in 0..PACKET {
                // A row's last packet reaches over its last block: those elements are zeros.
                let block = usize::min((packet * PACKET + i) / width, across - 1);
                result.insert(i, quad.extract(i) * scales[block_row + block]);
            }
            result
        }
    } else {
        quad
    }
}
