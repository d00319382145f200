//! [`Attend`] on a device.
//!
//! A cube takes some heads of a group for one token, or several, over one split of the keys; what
//! the splits of a token leave is combined in ascending order. All attention goes through the same
//! two kernels: grouped heads and absorbed latents over the cached rows, expanded latents over rows
//! made for the purpose.

use latent_kernels::gpu::{Gpu, GpuMatrix, GpuTensor, PACKET};
use latent_kernels::{Backend, KernelError, Matrix, Tensor, Weight};

use super::{
    Attend, LatentDims, Latents, RowLayout, check_attend, check_expanded, check_heads, check_kv_b,
    check_latents,
};
use crate::{PAGE_TOKENS, RowFormat, Slot, Span};

mod absorb;
mod attention;
mod combine;
mod expanded;
mod latents;
mod pages;
mod partial;
mod plan;
mod project;
mod row;
mod table;
mod write;

pub use pages::GpuPages;
pub use plan::{AttendPlan, SPLIT_KEYS};

use attention::{Problem, Results};
use expanded::Expanded;
use project::{HeadRows, Steps};
use table::Tables;

/// The bytes that an attention takes beside its arguments and its result.
const TEMPORARY_BYTES: usize = 64 << 20;

impl Attend for Gpu {
    type Pages = GpuPages;
    type KvB = GpuMatrix;

    fn kv_b(&self, weight: Weight) -> Result<GpuMatrix, KernelError> {
        self.matrix(weight)
    }

    fn pages(&self, width: usize, format: RowFormat) -> Result<GpuPages, KernelError> {
        GpuPages::new(self, width, format)
    }

    fn open_page(&self, pages: &mut GpuPages, page: usize) -> Result<(), KernelError> {
        pages.open(self, page)
    }

    fn close_page(&self, pages: &mut GpuPages, page: usize) {
        pages.close(page);
    }

    fn copy_page(&self, pages: &mut GpuPages, from: usize, to: usize) -> Result<(), KernelError> {
        pages.copy(self, from, to)
    }

    fn pages_bytes(&self, pages: &GpuPages) -> usize {
        pages.bytes()
    }

    fn write_rows(
        &self,
        pages: &mut GpuPages,
        slots: &[Slot],
        rows: &GpuTensor,
    ) -> Result<(), KernelError> {
        pages.write(self, slots, rows)
    }

    fn write_latents(
        &self,
        pages: &mut GpuPages,
        slots: &[Slot],
        latents: &Latents<'_, Self>,
    ) -> Result<(), KernelError> {
        let (kv_a, gain) = (latents.kv_a.shape(), latents.gain.shape());
        check_latents(kv_a, gain, slots.len())?;
        let rotated = 2 * latents.rope.frequencies().len();
        let fits = latents::shared_bytes(kv_a[1]) <= self.limits().shared_bytes;
        let whole = kv_a[1] == pages.width() && kv_a[1] == gain[0] + rotated;
        if !fits || !whole || latents.positions.len() != slots.len() {
            return self.write_rows(pages, slots, &latents.rows(self)?);
        }
        latents::write(self, pages, slots, latents)
    }

    fn read_rows(&self, pages: &GpuPages, slots: &[Slot]) -> Result<GpuTensor, KernelError> {
        pages.read(self, slots, pages.width(), pages.width())
    }

    fn attend(
        &self,
        q: &GpuTensor,
        pages: &GpuPages,
        spans: &[Span],
        layout: RowLayout,
        scale: f64,
    ) -> Result<GpuTensor, KernelError> {
        attend_within(self, q, pages, spans, layout, scale, TEMPORARY_BYTES)
    }

    fn attend_expanded(
        &self,
        q: &GpuTensor,
        pages: &GpuPages,
        spans: &[Span],
        kv_b: &GpuMatrix,
        dims: LatentDims,
        scale: f64,
    ) -> Result<GpuTensor, KernelError> {
        attend_expanded_within(self, q, pages, spans, kv_b, dims, scale, TEMPORARY_BYTES)
    }

    fn absorb_query(
        &self,
        q_nope: &GpuTensor,
        kv_b: &GpuMatrix,
        dims: LatentDims,
    ) -> Result<GpuTensor, KernelError> {
        check_heads("absorb: q_nope", q_nope.shape(), dims.qk_nope_head_dim, dims)?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        absorb::absorb(self, q_nope, kv_b, dims, 0)
    }

    fn absorbed_query(
        &self,
        q: &GpuTensor,
        kv_b: &GpuMatrix,
        dims: LatentDims,
    ) -> Result<GpuTensor, KernelError> {
        let (nope, rope) = (dims.qk_nope_head_dim, dims.qk_rope_head_dim);
        check_heads("absorb: q", q.shape(), nope + rope, dims)?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        absorb::absorb(self, q, kv_b, dims, rope)
    }

    fn expand_values(
        &self,
        o_latent: &GpuTensor,
        kv_b: &GpuMatrix,
        dims: LatentDims,
    ) -> Result<GpuTensor, KernelError> {
        let LatentDims { num_attention_heads: heads, kv_lora_rank: rank, v_head_dim, .. } = dims;
        let tokens = check_heads("expand: o_latent", o_latent.shape(), rank, dims)?;
        check_kv_b([kv_b.rows(), kv_b.cols()], dims)?;
        let o = self.empty(&[tokens, heads, v_head_dim])?;
        if o.elements() == 0 {
            return Ok(o);
        }
        let width = rank.next_multiple_of(PACKET);
        let x = if width == rank {
            o_latent.clone()
        } else {
            self.join_columns(o_latent, &self.filled(0.0, &[tokens, heads, width - rank])?)?
        };
        let from = Steps { first: 0, token: heads * width, head: width };
        let rows = HeadRows {
            first: dims.qk_nope_head_dim,
            stride: dims.rows_per_head(),
            taken: v_head_dim,
        };
        let to = Steps { first: 0, token: heads * v_head_dim, head: v_head_dim };
        project::project(self, [tokens, heads], (&x, from), (kv_b, rows), (&o, to))?;
        Ok(o)
    }
}

/// [`Attend::attend`] with at most `bytes` for sums over single splits of the keys, or what one
/// token takes over one split: less memory means more launches, and the same bits.
///
/// # Errors
/// As [`Attend::attend`].
pub fn attend_within(
    gpu: &Gpu,
    q: &GpuTensor,
    pages: &GpuPages,
    spans: &[Span],
    layout: RowLayout,
    scale: f64,
    bytes: usize,
) -> Result<GpuTensor, KernelError> {
    check_attend(q.shape(), pages.width(), spans, layout)?;
    pages.prove_spans(spans)?;
    let (tokens, heads) = (q.shape()[0], q.shape()[1]);
    let results = Results::new(gpu, [tokens, heads, layout.value_dim])?;
    if results.o.elements() == 0 {
        return Ok(results.o);
    }
    let longest = spans.iter().map(|s| s.tokens).max().unwrap_or(0);
    let plan = AttendPlan::new(layout, heads, gpu.limits()).with_tokens(longest, gpu.limits());
    let of_spans = spans.iter().map(|s| (s, s.pages[..s.keys().div_ceil(PAGE_TOKENS)].to_vec()));
    let tables = Tables::new(gpu, of_spans, plan.tokens)?;
    let problem = Problem {
        q,
        all_heads: heads,
        heads: [0, heads],
        words: pages.words(),
        row_words: pages.row_words(),
        format: pages.format(),
        layout,
        scale,
        plan,
        bytes,
    };
    problem.attend(gpu, &tables, 0..usize::MAX, &results)?;
    Ok(results.o)
}

/// [`Attend::attend_expanded`] with at most `bytes` for expanded keys and values and as many for
/// sums over single splits, or what one head takes over one split: less memory means more launches,
/// and the same bits.
///
/// # Errors
/// As [`Attend::attend_expanded`].
#[expect(clippy::too_many_arguments, reason = "the operation's own, and one more")]
pub fn attend_expanded_within(
    gpu: &Gpu,
    q: &GpuTensor,
    pages: &GpuPages,
    spans: &[Span],
    kv_b: &GpuMatrix,
    dims: LatentDims,
    scale: f64,
    bytes: usize,
) -> Result<GpuTensor, KernelError> {
    check_expanded(q.shape(), pages.width(), spans, [kv_b.rows(), kv_b.cols()], dims)?;
    pages.prove_spans(spans)?;
    let shape = [q.shape()[0], dims.num_attention_heads, dims.v_head_dim];
    if shape.contains(&0) {
        return gpu.empty(&shape);
    }
    Expanded { q, pages, kv_b, dims, scale, bytes }.attend(gpu, spans)
}
