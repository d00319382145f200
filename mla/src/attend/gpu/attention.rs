//! Attention over rows in a buffer: launches of the partial kernel, each followed by the
//! combination of what it left.

use std::ops::Range;

use latent_kernels::gpu::{Buffer, Cubes, Gpu, GpuTensor};
use latent_kernels::{Cost, KernelError};

use super::combine::combine;
use super::pages::{bytes, word};
use super::partial::partial_kernel;
use super::plan::{AttendPlan, SPLIT_KEYS};
use super::table::{Block, Tables, groups, rows, splits};
use crate::{RowFormat, RowLayout};

/// Queries and the rows that they attend to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem<'a> {
    /// `[token, head, key_dim]`
    pub(super) q: &'a GpuTensor,
    /// The heads of `q` and of the result.
    pub(super) all_heads: usize,
    /// The heads that attend: consecutive ones.
    pub(super) heads: [usize; 2], // first, number
    /// The rows.
    pub(super) words: &'a Buffer,
    /// The words from one row to the next.
    pub(super) row_words: usize,
    /// How a row is stored.
    pub(super) format: RowFormat,
    /// Where keys and values of these heads lie in a row.
    pub(super) layout: RowLayout,
    /// What scores are multiplied by.
    pub(super) scale: f64,
    /// How the work is cut.
    pub(super) plan: AttendPlan,
    /// The most bytes that sums over single splits take before they are combined.
    pub(super) bytes: usize,
}

/// Where results go: `o` `[token, head, value_dim]`, and per token and head the maximum and the sum
/// that a result over some of the splits goes on with.
#[derive(Debug)]
pub(super) struct Results {
    pub(super) o: GpuTensor,
    pub(super) carried: Buffer, // [token, head, (maximum, sum)]
}

impl Results {
    pub(super) fn new(gpu: &Gpu, [tokens, heads, dim]: [usize; 3]) -> Result<Self, KernelError> {
        Ok(Self { o: gpu.empty(&[tokens, heads, dim])?, carried: gpu.buffer(8 * tokens * heads)? })
    }
}

impl Problem<'_> {
    /// Attends to the keys in `range`, counted in splits; the splits before it must have been
    /// attended to, and a row is done when its last one was.
    pub(super) fn attend(
        &self,
        gpu: &Gpu,
        tables: &Tables,
        range: Range<usize>,
        results: &Results,
    ) -> Result<(), KernelError> {
        let of_split = 4 * self.heads[1] * (self.layout.value_dim + 2);
        let limit = (self.bytes.min(gpu.limits().buffer_bytes) / of_split).max(1);
        for blocks in groups(&tables.blocks, limit) {
            let end = range.end.min(splits(blocks));
            let step = (limit / rows(blocks).len()).max(1);
            for first in (range.start..end).step_by(step) {
                let part = first..end.min(first + step);
                let partial = gpu.buffer(of_split * rows(blocks).len() * part.len())?;
                self.attend_part(gpu, tables, blocks, part.clone(), &partial)?;
                combine(gpu, self, blocks, part, &partial, results)?;
            }
        }
        Ok(())
    }

    fn attend_part(
        &self,
        gpu: &Gpu,
        tables: &Tables,
        blocks: &[Block],
        part: Range<usize>,
        partial: &Buffer,
    ) -> Result<(), KernelError> {
        let (plan, layout) = (self.plan, self.layout);
        let bounds: Vec<u32> =
            blocks.iter().flat_map(|b| [b.row, b.tokens, b.start, b.table]).map(word).collect();
        let bounds = gpu.upload_words(&bounds)?;
        let [first_head, heads] = self.heads;
        let group_heads = heads / layout.kv_heads;
        let cubes = blocks.len() * part.len() * self.head_blocks();
        let shape = Cubes { cubes, units: plan.units, shared_bytes: plan.shared_bytes() };
        let cost = self.cost(blocks, &part);
        gpu.launch("attend", shape, cost, |client, count, cube| {
            partial_kernel::launch(
                client,
                count,
                cube,
                plan.lanes(),
                self.q.arg(),
                self.words.arg(4),
                tables.pages.arg(4),
                bounds.arg(4),
                partial.arg(4),
                cubes,
                rows(blocks).start,
                part.start,
                part.len(),
                self.all_heads,
                first_head,
                layout.kv_heads,
                group_heads,
                self.row_words,
                layout.key_dim,
                layout.value_dim,
                layout.value_offset,
                <f32 as latent_kernels::Scalar>::from_f64(self.scale),
                self.format,
                plan,
            );
        })
    }

    /// The cubes that share a block of tokens and a split.
    fn head_blocks(&self) -> usize {
        let group = self.heads[1] / self.layout.kv_heads;
        self.layout.kv_heads * group.div_ceil(self.plan.heads)
    }

    /// What the splits of `part` cost: every cube asks for its keys and values once, and for its
    /// queries once a tile.
    fn cost(&self, blocks: &[Block], part: &Range<usize>) -> Cost {
        let RowLayout { key_dim, value_dim, .. } = self.layout;
        let (first, end) = (part.start * SPLIT_KEYS, part.end * SPLIT_KEYS);
        let within = |keys: usize| keys.clamp(first, end) - first;
        let heads = self.heads[1];
        let (mut read, mut rows_read, mut queries, mut written, mut pairs) = (0, 0, 0, 0, 0);
        let mut before = None;
        for block in blocks {
            let keys = within(block.keys());
            let tiles = keys.div_ceil(self.plan.units);
            read += keys;
            queries += tiles * self.plan.queries();
            written += block.tokens * keys.div_ceil(SPLIT_KEYS);
            pairs += (0..block.tokens).map(|i| within(block.start + i + 1)).sum::<usize>();
            // The blocks of a span follow one another: its rows are counted where its last one
            // ends.
            if before.is_some_and(|(table, _)| table != block.table) {
                rows_read += before.map_or(0, |(_, keys)| keys);
            }
            before = Some((block.table, keys));
        }
        rows_read += before.map_or(0, |(_, keys)| keys);
        let partial = 4 * written * heads * (value_dim + 2);
        let q = 4 * rows(blocks).len() * heads * key_dim;
        let floor = q + rows_read * bytes(self.format, self.row_elements()) + partial;
        let of_key = bytes(self.format, key_dim) + bytes(self.format, value_dim);
        let per_cube = read * of_key + 4 * queries * key_dim;
        Cost {
            floor_bytes: floor as u64,
            moved_bytes: (self.head_blocks() * per_cube + partial) as u64,
            multiply_adds: (pairs * heads * (key_dim + value_dim)) as u64,
            ..Cost::default()
        }
    }

    /// The elements of a row that are keys or values.
    fn row_elements(&self) -> usize {
        let RowLayout { kv_heads, key_dim, value_dim, value_offset } = self.layout;
        let (keys, values) = (kv_heads * key_dim, kv_heads * value_dim);
        if value_offset < keys { keys.max(value_offset + values) } else { keys + values }
    }
}
