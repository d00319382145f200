//! The kernel of attention: sums over one split of keys.
//!
//! Keys come in tiles of as many as a cube has units. Each tile's scores are a small product of
//! matrices: chunks of keys and queries are staged in shared memory, and a unit scores its key for
//! all queries of the cube. Then each unit sums its columns of the values, read once for all
//! queries. The softmax is the online one: a tile that has a new maximum scales what was summed.
//!
//! # Source
//! Milakov and Gimelshein (arXiv 1805.02867), section 3; Dao et al. (arXiv 2205.14135), section
//! 3.1.

use cubecl::prelude::*;

use super::plan::{AttendPlan, CHUNK, SPLIT_KEYS};
use super::row::element;
use crate::{PAGE_TOKENS, RowFormat};

#[cube(launch)]
pub(super) fn partial_kernel<N: Size>(
    q: &[f32],           // [row, head, key_dim]
    words: &[u32],       // [page, row of it, row_words]
    tables: &[u32],      // the pages of each span
    blocks: &[u32],      // [block, (row, tokens, start, table)]
    partial: &mut [f32], // [row, head, split, value_dim + (maximum, sum)]
    cubes: usize,
    first_row: usize,
    first_split: usize,
    splits: usize,
    all_heads: usize,
    first_head: usize,
    groups: usize,
    group_heads: usize,
    row_words: usize,
    key_dim: usize,
    value_dim: usize,
    value_offset: usize,
    scale: f32,
    #[comptime] format: RowFormat,
    #[comptime] plan: AttendPlan,
) {
    let vectors = comptime!(plan.vectors());
    let units = comptime!(plan.units);
    let columns = comptime!(plan.columns);
    let lanes = comptime!(plan.lanes());

    let mut keys = Shared::<[f32]>::new_slice(comptime!(plan.units * (CHUNK + 1)));
    let mut queries = Shared::<[Vector<f32, N>]>::new_slice(comptime!(CHUNK * plan.vectors()));
    let mut weights = Shared::<[Vector<f32, N>]>::new_slice(comptime!(plan.units * plan.vectors()));
    let mut bases = Shared::<[u32]>::new_slice(units);
    let mut bounds = Shared::<[u32]>::new_slice(4usize);

    // Cubes that share keys are neighbours. Cubes behind the last one do it once more.
    let cube = usize::min(CUBE_POS, cubes - 1);
    let head_blocks = group_heads.div_ceil(plan.heads);
    let group = cube % (groups * head_blocks) / head_blocks;
    let head = cube % head_blocks * plan.heads; // in the group
    let split = cube / (groups * head_blocks) % splits;
    let block = cube / (groups * head_blocks) / splits;
    let unit = UNIT_POS as usize;

    if unit < 4 {
        bounds[unit] = blocks[block * 4 + unit];
    }
    sync_cube();
    // Loops with barriers must be bounded by what all units are known to agree on.
    let row = workgroup_uniform_load(&bounds[0]) as usize;
    let tokens = workgroup_uniform_load(&bounds[1]) as usize;
    let start = workgroup_uniform_load(&bounds[2]) as usize;
    let table = workgroup_uniform_load(&bounds[3]) as usize;

    let first_key = (first_split + split) * SPLIT_KEYS;
    let end = usize::min(start + tokens, first_key + SPLIT_KEYS);
    let tiles = (usize::max(end, first_key) - first_key).div_ceil(units);

    let zero = Vector::<f32, N>::new(0.0);
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(plan.columns * plan.vectors()));
    #[unroll]
    for i in 0..comptime!(plan.columns * plan.vectors()) {
        sums[i] = zero;
    }
    let mut max = Array::<Vector<f32, N>>::new(vectors);
    let mut sum = Array::<Vector<f32, N>>::new(vectors);
    #[unroll]
    for v in 0..vectors {
        max[v] = Vector::new(f32::min_value());
        sum[v] = zero;
    }

    for tile in 0..tiles {
        let key0 = first_key + tile * units;
        let key = key0 + unit;
        let mut base = 0u32;
        if key < end {
            let page = tables[table + key / PAGE_TOKENS] as usize;
            base = u32::cast_from((page * PAGE_TOKENS + key % PAGE_TOKENS) * row_words);
        }
        bases[unit] = base;
        sync_cube();

        let mut scores = Array::<Vector<f32, N>>::new(vectors);
        #[unroll]
        for v in 0..vectors {
            scores[v] = zero;
        }
        for chunk in 0..key_dim.div_ceil(CHUNK) {
            for i in 0..CHUNK {
                let k = (i * units + unit) / CHUNK;
                let d = (i * units + unit) % CHUNK;
                let dim = chunk * CHUNK + d;
                let mut value = f32::new(0.0);
                if key0 + k < end && dim < key_dim {
                    value = element(words, bases[k] as usize, group * key_dim + dim, format);
                }
                keys[k * (CHUNK + 1) + d] = value;
            }
            let mut i = unit;
            while i < CHUNK * vectors {
                let v = i / CHUNK;
                let dim = chunk * CHUNK + i % CHUNK;
                let mut value = zero;
                #[unroll]
                for n in 0..lanes {
                    let token = (v * lanes + n) / plan.heads;
                    let h = head + (v * lanes + n) % plan.heads;
                    if dim < key_dim && token < tokens && h < group_heads {
                        let of_head = first_head + group * group_heads + h;
                        let at = ((row + token) * all_heads + of_head) * key_dim + dim;
                        value.insert(n, q[at] * scale);
                    }
                }
                queries[i % CHUNK * vectors + v] = value;
                i += units;
            }
            sync_cube();
            for d in 0..CHUNK {
                let k = Vector::<f32, N>::new(keys[unit * (CHUNK + 1) + d]);
                #[unroll]
                for v in 0..vectors {
                    scores[v] = fma(queries[d * vectors + v], k, scores[v]);
                }
            }
            sync_cube();
        }

        #[unroll]
        for v in 0..vectors {
            let lowest = Vector::<f32, N>::new(f32::min_value());
            weights[unit * vectors + v] = seen(scores[v], lowest, key, start, tokens, v, plan);
        }
        sync_cube();
        #[unroll]
        for step in 0..comptime!(plan.units.trailing_zeros()) {
            let half = comptime!(plan.units >> (step + 1));
            if unit < half {
                #[unroll]
                for v in 0..vectors {
                    let one = weights[unit * vectors + v];
                    let other = weights[(unit + half) * vectors + v];
                    weights[unit * vectors + v] = larger(one, other);
                }
            }
            sync_cube();
        }
        let mut shrink = Array::<Vector<f32, N>>::new(vectors);
        #[unroll]
        for v in 0..vectors {
            let new = larger(max[v], weights[v]);
            shrink[v] = Vector::exp(max[v] - new);
            max[v] = new;
        }
        sync_cube();
        #[unroll]
        for v in 0..vectors {
            let weight = Vector::exp(scores[v] - max[v]);
            weights[unit * vectors + v] = seen(weight, zero, key, start, tokens, v, plan);
            sum[v] *= shrink[v];
            #[unroll]
            for c in 0..columns {
                sums[c * vectors + v] *= shrink[v];
            }
        }
        sync_cube();

        let values = value_offset + group * value_dim;
        let tile_keys = usize::min(end - key0, units);
        // Keys up to the first token's are seen by all tokens.
        let sure = usize::min(usize::max(start + 1, key0) - key0, tile_keys);
        for k in 0..sure {
            let base = bases[k] as usize;
            #[unroll]
            for v in 0..vectors {
                sum[v] += weights[k * vectors + v];
            }
            #[unroll]
            for c in 0..columns {
                let value = column(words, base, values, c * units + unit, value_dim, format);
                #[unroll]
                for v in 0..vectors {
                    let i = comptime!(c * plan.vectors() + v);
                    sums[i] = fma(weights[k * vectors + v], value, sums[i]);
                }
            }
        }
        if comptime!(plan.tokens > 1) {
            for k in sure..tile_keys {
                let base = bases[k] as usize;
                #[unroll]
                for v in 0..vectors {
                    sum[v] += weights[k * vectors + v];
                }
                #[unroll]
                for c in 0..columns {
                    let value = column(words, base, values, c * units + unit, value_dim, format);
                    #[unroll]
                    for v in 0..vectors {
                        let i = comptime!(c * plan.vectors() + v);
                        let more = fma(weights[k * vectors + v], value, sums[i]);
                        sums[i] = seen(more, sums[i], key0 + k, start, tokens, v, plan);
                    }
                }
            }
        }
        sync_cube();
    }

    if end > first_key {
        #[unroll]
        for v in 0..vectors {
            #[unroll]
            for n in 0..lanes {
                let token = comptime!((v * plan.lanes() + n) / plan.heads);
                let h = head + comptime!((v * plan.lanes() + n) % plan.heads);
                if token < tokens && h < group_heads {
                    let at =
                        (row + token - first_row) * groups * group_heads + group * group_heads + h;
                    let base = (at * splits + split) * (value_dim + 2);
                    #[unroll]
                    for c in 0..columns {
                        if c * units + unit < value_dim {
                            let i = comptime!(c * plan.vectors() + v);
                            partial[base + c * units + unit] = sums[i].extract(n);
                        }
                    }
                    if unit == 0 {
                        partial[base + value_dim] = max[v].extract(n);
                        partial[base + value_dim + 1] = sum[v].extract(n);
                    }
                }
            }
        }
    }
}

/// `yes` for the queries of vector `v` whose tokens see `key`, `no` for the others.
#[cube]
fn seen<N: Size>(
    yes: Vector<f32, N>,
    no: Vector<f32, N>,
    key: usize,
    start: usize,
    tokens: usize,
    #[comptime] v: usize,
    #[comptime] plan: AttendPlan,
) -> Vector<f32, N> {
    let mut result = no;
    #[unroll]
    for n in 0..comptime!(plan.lanes()) {
        let token = comptime!((v * plan.lanes() + n) / plan.heads);
        let sees = token < tokens && key <= start + token;
        result.insert(n, select(sees, yes.extract(n), no.extract(n)));
    }
    result
}

/// The larger one of each pair.
#[cube]
fn larger<N: Size>(a: Vector<f32, N>, b: Vector<f32, N>) -> Vector<f32, N> {
    select_many(b.greater_than(&a), b, a)
}

/// Column `i` of the value that begins at element `first` of the row at `base`, for all queries; 0
/// behind the last column.
#[cube]
fn column<N: Size>(
    words: &[u32],
    base: usize,
    first: usize,
    i: usize,
    value_dim: usize,
    #[comptime] format: RowFormat,
) -> Vector<f32, N> {
    let mut value = f32::new(0.0);
    if i < value_dim {
        value = element(words, base, first + i, format);
    }
    Vector::new(value)
}
