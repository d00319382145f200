//! Products with the transpose of each head's key rows: a query that meets latents.

use cubecl::prelude::*;
use latent_kernels::gpu::unpack::unpack;
use latent_kernels::gpu::{Cubes, Gpu, GpuMatrix, GpuTensor, Layout, PACKET, Quad, scaled};
use latent_kernels::{Cost, KernelError, Matrix, Tensor};

use crate::LatentDims;

/// The packets of a latent that a cube makes: neighbouring units read neighbouring weights.
const PACKETS: usize = 32;

/// The parts of each sum: part `i` takes every `STRANDS`th row from row `i` on.
const STRANDS: usize = 4;

/// `y[token, head] = Σ_i q[token, head, i] w[row i of the head]`, and behind it the last `rope`
/// elements of the query as they are.
pub(super) fn absorb(
    gpu: &Gpu,
    q: &GpuTensor,
    w: &GpuMatrix,
    dims: LatentDims,
    rope: usize,
) -> Result<GpuTensor, KernelError> {
    let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, .. } = dims;
    let (tokens, nope) = (q.shape()[0], dims.qk_nope_head_dim);
    let y = gpu.empty(&[tokens, heads, rank + rope])?;
    if y.elements() == 0 {
        return Ok(y);
    }
    // A sum runs over rows, so these must lie together.
    let [shard] = w.shards() else {
        let (found, limit) = (w.rows() * w.row_bytes(), gpu.limits().buffer_bytes);
        return Err(KernelError::limit("absorb: bytes of kv_b", found, limit));
    };
    let layout = w.layout();
    // As many tokens as strands: each folds the sums of one.
    let tile = if tokens == 1 { 1 } else { STRANDS };
    let (token_tiles, blocks) = (tokens.div_ceil(tile), w.packets().div_ceil(PACKETS));
    let cubes = Cubes {
        cubes: token_tiles * blocks * heads,
        units: PACKETS * STRANDS,
        shared_bytes: 16 * PACKETS * STRANDS * tile,
    };
    let (weights, ends) = (heads * nope * w.row_bytes(), 4 * (q.elements() + y.elements()));
    let cost = Cost {
        floor_bytes: (weights + ends) as u64,
        moved_bytes: (weights * token_tiles + 4 * (q.elements() * blocks + y.elements())) as u64,
        multiply_adds: (tokens * heads * nope * rank) as u64,
        ..Cost::default()
    };
    gpu.launch("absorb", cubes, cost, |client, count, cube| {
        absorb_kernel::launch(
            client,
            count,
            cube,
            layout.packing.words(),
            q.arg(),
            shard.arg(layout),
            w.scales_arg(),
            y.arg(),
            tokens,
            heads,
            nope,
            dims.rows_per_head(),
            rank,
            rope,
            w.scales_across(),
            layout,
            tile,
        );
    })?;
    Ok(y)
}

#[cube(launch)]
fn absorb_kernel<W: Size>(
    q: &[f32],                // [token, head, nope | rope]
    words: &[Vector<u32, W>], // [row, packet]
    scales: &[f32],
    y: &mut [f32], // [token, head, rank | rope]
    tokens: usize,
    heads: usize,
    nope: usize,
    head_rows: usize,
    rank: usize,
    rope: usize,
    scales_across: usize,
    #[comptime] layout: Layout,
    #[comptime] tile: usize,
) {
    let packets = rank.div_ceil(PACKET);
    let blocks = packets.div_ceil(PACKETS);
    let token_tiles = tokens.div_ceil(tile);
    let token0 = CUBE_POS % token_tiles * tile;
    let block = CUBE_POS / token_tiles % blocks;
    // Cubes behind the last one do its head once more.
    let head = usize::min(CUBE_POS / token_tiles / blocks, heads - 1);
    let lane = UNIT_POS as usize % PACKETS;
    let strand = UNIT_POS as usize / PACKETS;
    let packet = block * PACKETS + lane;
    let near = usize::min(packet, packets - 1);

    let mut sums = Array::<Quad>::new(tile);
    let mut queries = Array::<usize>::new(tile);
    #[unroll]
    for t in 0..tile {
        sums[t] = Quad::new(0.0);
        queries[t] = (usize::min(token0 + t, tokens - 1) * heads + head) * (nope + rope);
    }
    let mut i = strand;
    while i < nope {
        let row = head * head_rows + i;
        let quad = unpack::<W>(words[row * packets + near], layout.packing);
        let weight = scaled(quad, scales, 0, scales_across, row, near, layout);
        #[unroll]
        for t in 0..tile {
            sums[t] = fma(Quad::new(q[queries[t] + i]), weight, sums[t]);
        }
        i += STRANDS;
    }

    let mut parts = Shared::<[Quad]>::new_slice(comptime!(tile * STRANDS * PACKETS));
    #[unroll]
    for t in 0..tile {
        parts[(t * STRANDS + strand) * PACKETS + lane] = sums[t];
    }
    sync_cube();
    let token = token0 + strand;
    if block == 0 && strand < tile && token < tokens {
        let mut i = lane;
        while i < rope {
            let from = (token * heads + head) * (nope + rope) + nope;
            y[(token * heads + head) * (rank + rope) + rank + i] = q[from + i];
            i += PACKETS;
        }
    }
    if strand < tile && token < tokens && packet < packets {
        let mut sum = parts[strand * STRANDS * PACKETS + lane];
        #[unroll]
        for s in 1..STRANDS {
            sum += parts[(strand * STRANDS + s) * PACKETS + lane];
        }
        #[unroll]
        for c in 0..PACKET {
            let column = packet * PACKET + c;
            if column < rank {
                y[(token * heads + head) * (rank + rope) + column] = sum.extract(c);
            }
        }
    }
}
