//! The expanded form: keys and values of some heads are made from the latents of some keys, laid
//! out as rows of multi-head attention, and attended to.

use std::ops::Range;

use cubecl::prelude::*;
use latent_kernels::gpu::{Cubes, Gpu, GpuMatrix, GpuTensor, PACKET};
use latent_kernels::{Cost, KernelError};

use super::attention::{Problem, Results};
use super::pages::GpuPages;
use super::plan::{AttendPlan, SPLIT_KEYS};
use super::project::{HeadRows, Steps, project};
use super::row::element;
use super::table::Tables;
use crate::{LatentDims, PAGE_TOKENS, RowFormat, RowLayout, Slot, Span};

/// The units of a cube.
const UNITS: usize = 256;

/// Latent attention over cached latents that are expanded on the way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expanded<'a> {
    pub(super) q: &'a GpuTensor, // [token, head, nope + rope]
    pub(super) pages: &'a GpuPages,
    pub(super) kv_b: &'a GpuMatrix,
    pub(super) dims: LatentDims,
    pub(super) scale: f64,
    /// The most bytes that latents, keys and values take at once.
    pub(super) bytes: usize,
}

/// Some splits of the keys of some spans.
struct Part<'a> {
    spans: &'a [Span],
    splits: Range<usize>,
}

impl Part<'_> {
    /// The pages of a span that its keys in these splits lie in, counted within the span.
    fn pages(&self, span: &Span) -> Range<usize> {
        let pages_of = |splits: usize| splits * (SPLIT_KEYS / PAGE_TOKENS);
        let pages = span.keys().div_ceil(PAGE_TOKENS);
        pages.min(pages_of(self.splits.start))..pages.min(pages_of(self.splits.end))
    }

    fn keys(&self) -> usize {
        self.spans.iter().map(|s| self.pages(s).len() * PAGE_TOKENS).sum()
    }
}

impl Expanded<'_> {
    /// Attends to the keys of `spans`, some heads at a time, and where the keys for one head do not
    /// fit at once, span by span and some splits at a time.
    pub(super) fn attend(&self, gpu: &Gpu, spans: &[Span]) -> Result<GpuTensor, KernelError> {
        let LatentDims { num_attention_heads: heads, v_head_dim, .. } = self.dims;
        let tokens = spans.iter().map(|s| s.tokens).sum();
        let results = Results::new(gpu, [tokens, heads, v_head_dim])?;
        let limit = self.bytes.min(gpu.limits().buffer_bytes) / 4;
        let splits = |s: &Span| s.keys().div_ceil(SPLIT_KEYS);
        let all = Part { spans, splits: 0..spans.iter().map(splits).max().unwrap_or(0) };
        let at_once =
            (limit / all.keys().max(1)).saturating_sub(self.latent_width()) / self.width_per_head();
        for first in (0..heads).step_by(at_once.max(1)) {
            let of_heads = [first, at_once.max(1).min(heads - first)];
            if at_once > 0 {
                self.attend_part(gpu, &all, of_heads, &results)?;
                continue;
            }
            let step = limit / SPLIT_KEYS / (self.latent_width() + self.width_per_head());
            for span in spans {
                for split in (0..splits(span)).step_by(step.max(1)) {
                    let splits = split..splits(span).min(split + step.max(1));
                    let part = Part { spans: std::slice::from_ref(span), splits };
                    self.attend_part(gpu, &part, of_heads, &results)?;
                }
            }
        }
        Ok(results.o)
    }

    /// The elements of a latent, up to a whole number of packets.
    fn latent_width(&self) -> usize {
        self.dims.kv_lora_rank.next_multiple_of(PACKET)
    }

    fn key_dim(&self) -> usize {
        self.dims.qk_nope_head_dim + self.dims.qk_rope_head_dim
    }

    /// The elements of a key and a value of one head.
    fn width_per_head(&self) -> usize {
        (self.key_dim() + self.dims.v_head_dim).max(1)
    }

    fn attend_part(
        &self,
        gpu: &Gpu,
        part: &Part<'_>,
        [first, heads]: [usize; 2],
        results: &Results,
    ) -> Result<(), KernelError> {
        let layout = RowLayout {
            kv_heads: heads,
            key_dim: self.key_dim(),
            value_dim: self.dims.v_head_dim,
            value_offset: heads * self.key_dim(),
        };
        let rows = self.expand(gpu, part, first, layout)?;
        let longest = part.spans.iter().map(|s| s.tokens).max().unwrap_or(0);
        let limits = gpu.limits();
        let plan = AttendPlan::new(layout, heads, limits).with_tokens(longest, limits);
        let mut next = 0;
        let spans = part.spans.iter().map(|span| {
            let pages = part.pages(span);
            // Pages before these were attended to before.
            let mut table = vec![0; pages.start];
            table.extend(next..next + pages.len());
            next += pages.len();
            (span, table)
        });
        let tables = Tables::new(gpu, spans, plan.tokens)?;
        let problem = Problem {
            q: self.q,
            all_heads: self.dims.num_attention_heads,
            heads: [first, heads],
            words: rows.buffer(),
            row_words: heads * self.width_per_head(),
            format: RowFormat::Scalar,
            layout,
            scale: self.scale,
            plan,
            bytes: self.bytes,
        };
        problem.attend(gpu, &tables, part.splits.clone(), results)
    }

    /// The keys and values of some heads at all keys of `part`, page after page, in rows of
    /// `layout`.
    fn expand(
        &self,
        gpu: &Gpu,
        part: &Part<'_>,
        first: usize,
        layout: RowLayout,
    ) -> Result<GpuTensor, KernelError> {
        let LatentDims { kv_lora_rank: rank, qk_nope_head_dim: nope, v_head_dim, .. } = self.dims;
        let pages = part.spans.iter().flat_map(|s| &s.pages[part.pages(s)]);
        let slots: Vec<Slot> =
            pages.flat_map(|&page| (0..PAGE_TOKENS).map(move |row| Slot { page, row })).collect();
        let (keys, heads) = (slots.len(), layout.kv_heads);
        let width = heads * self.width_per_head();
        let latents = self.pages.read(gpu, &slots, rank, self.latent_width())?;
        let rows = gpu.empty(&[keys, width])?;
        let from = (&latents, Steps { first: 0, token: self.latent_width(), head: 0 });
        let stride = self.dims.rows_per_head();
        let key_rows = HeadRows { first: first * stride, stride, taken: nope };
        let to = Steps { first: 0, token: width, head: layout.key_dim };
        project(gpu, [keys, heads], from, (self.kv_b, key_rows), (&rows, to))?;
        let value_rows = HeadRows { first: first * stride + nope, stride, taken: v_head_dim };
        let to = Steps { first: layout.value_offset, token: width, head: v_head_dim };
        project(gpu, [keys, heads], from, (self.kv_b, value_rows), (&rows, to))?;
        self.spread(gpu, &slots, layout, &rows)?;
        Ok(rows)
    }

    /// Copies each rotated key behind every head's own key.
    fn spread(
        &self,
        gpu: &Gpu,
        slots: &[Slot],
        layout: RowLayout,
        rows: &GpuTensor,
    ) -> Result<(), KernelError> {
        let LatentDims { kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim: rope, .. } = self.dims;
        let (keys, heads) = (slots.len(), layout.kv_heads);
        let at = gpu.upload_words(&self.pages.rows_at(slots)?)?;
        let cost = Cost::streaming(4 * keys * (rope + heads * rope + 1));
        let cubes = Cubes::covering(keys * heads * rope, UNITS);
        gpu.launch("spread_keys", cubes, cost, |client, count, cube| {
            spread_kernel::launch(
                client,
                count,
                cube,
                self.pages.arg(),
                at.arg(4),
                rows.arg(),
                keys,
                heads,
                rope,
                kv_lora_rank,
                self.pages.row_words(),
                qk_nope_head_dim,
                layout.key_dim,
                heads * self.width_per_head(),
                self.pages.format(),
            );
        })
    }
}

#[cube(launch)]
fn spread_kernel(
    words: &[u32],
    at: &[u32],
    rows: &mut [f32],
    keys: usize,
    heads: usize,
    rope: usize,
    rank: usize,
    row_words: usize,
    nope: usize,
    key_dim: usize,
    width: usize,
    #[comptime] format: RowFormat,
) {
    let key = ABSOLUTE_POS / (heads * rope);
    let head = ABSOLUTE_POS / rope % heads;
    let i = ABSOLUTE_POS % rope;
    if key < keys {
        let value = element(words, at[key] as usize * row_words, rank + i, format);
        rows[key * width + head * key_dim + nope + i] = value;
    }
}
