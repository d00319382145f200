//! Attention over cached rows: what a backend must be able to do for this crate.
//!
//! Rows lie in pages of [`PAGE_TOKENS`](crate::PAGE_TOKENS). A [`Span`] says which batch rows
//! belong to one sequence, at which positions, and in which pages its keys lie. A token sees the
//! keys at positions up to its own; there is no mask. Sums run over positions in order, so that a
//! token's result has the same bits whatever else is in the batch, however the prompt was chunked
//! and wherever the pages lie.

use std::fmt::Debug;

use latent_kernels::{Backend, KernelError, Matrix, RopeTable, Tensor, Weight};

use crate::{LATENT_NORM_EPS, PAGE_TOKENS, RowFormat, Slot, Span};

pub(crate) mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod pages;
pub(crate) mod reference;

/// Where the keys and values of each group lie in a cached row.
///
/// Group `g` has its key at `g * key_dim` and its value at `value_offset + g * value_dim`; query
/// head `h` of `n` belongs to group `h * kv_heads / n`. MHA, GQA and MQA differ in `kv_heads`. In
/// absorbed latent attention the key is the whole row and the value its first `kv_lora_rank`
/// elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLayout {
    /// The number of groups of heads with a key and a value of their own.
    pub kv_heads: usize,
    /// The width of a key.
    pub key_dim: usize,
    /// The width of a value.
    pub value_dim: usize,
    /// Where the values begin.
    pub value_offset: usize,
}

/// The sizes of latent attention that its kernels go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentDims {
    /// The number of heads.
    pub num_attention_heads: usize,
    /// The width of the latent.
    pub kv_lora_rank: usize,
    /// The part of a head's key that carries no position.
    pub qk_nope_head_dim: usize,
    /// The rotated part.
    pub qk_rope_head_dim: usize,
    /// The width of a head's value.
    pub v_head_dim: usize,
}

impl LatentDims {
    /// The shape of `kv_b_proj`: per head rows `[nope | v]`.
    #[must_use]
    pub fn kv_b_shape(&self) -> [usize; 2] {
        [self.num_attention_heads.saturating_mul(self.rows_per_head()), self.kv_lora_rank]
    }

    /// The rows of `kv_b_proj` that belong to one head.
    #[must_use]
    pub fn rows_per_head(&self) -> usize {
        self.qk_nope_head_dim.saturating_add(self.v_head_dim)
    }

    /// The cached row as the absorbed form reads it.
    #[must_use]
    pub fn absorbed_layout(&self) -> RowLayout {
        RowLayout {
            kv_heads: 1,
            key_dim: self.kv_lora_rank + self.qk_rope_head_dim,
            value_dim: self.kv_lora_rank,
            value_offset: 0,
        }
    }
}

/// What latent attention caches of some tokens, before its norm and its rotation.
#[derive(Debug)]
pub struct Latents<'a, B: Backend> {
    /// `[token, kv_lora_rank + qk_rope_head_dim]`
    pub kv_a: &'a B::Tensor,
    /// The gain of the latent's norm, `[kv_lora_rank]`.
    pub gain: &'a B::Tensor,
    /// The rotation of the key.
    pub rope: &'a RopeTable,
    /// `[token]`
    pub positions: &'a [usize],
}

impl<B: Backend> Latents<'_, B> {
    /// The rows as they are cached, `[token, c_kv | rotated key]`.
    fn rows(&self, backend: &B) -> Result<B::Tensor, KernelError> {
        let (c_kv, k_rope) = backend.split_columns(self.kv_a, self.gain.shape()[0])?;
        let c_kv = backend.rms_norm(&c_kv, self.gain, LATENT_NORM_EPS)?;
        // One head, shared by all.
        let [tokens, width] = [k_rope.shape()[0], k_rope.shape()[1]];
        let k_rope = backend.reshape(k_rope, &[tokens, 1, width])?;
        let k_rope = backend.rope(&k_rope, self.rope, self.positions)?;
        let k_rope = backend.reshape(k_rope, &[tokens, width])?;
        backend.join_columns(&c_kv, &k_rope)
    }
}

/// A backend with paged rows and attention over them.
///
/// Every operation returns [`KernelError`] when its arguments do not fit together.
#[expect(clippy::missing_errors_doc, reason = "all share the errors named in the trait's text")]
pub trait Attend: Backend {
    /// The rows of one layer, in pages that are opened and closed one by one.
    type Pages: Debug + Send + Sync;
    /// `kv_b_proj`, whose rows are met one head's at a time, from both sides.
    type KvB: Matrix;

    /// Takes `kv_b_proj` over.
    fn kv_b(&self, weight: Weight) -> Result<Self::KvB, KernelError>;

    /// Storage for rows of `width` elements in `format`; no page is open.
    fn pages(&self, width: usize, format: RowFormat) -> Result<Self::Pages, KernelError>;

    /// Opens a closed page and fills it with NaN.
    fn open_page(&self, pages: &mut Self::Pages, page: usize) -> Result<(), KernelError>;

    /// Closes a page and gives its memory back; a page that is not open stays so.
    fn close_page(&self, pages: &mut Self::Pages, page: usize);

    /// Copies all rows of one open page to another.
    fn copy_page(&self, pages: &mut Self::Pages, from: usize, to: usize)
    -> Result<(), KernelError>;

    /// The bytes that the open pages take.
    fn pages_bytes(&self, pages: &Self::Pages) -> usize;

    /// Writes row `i` of `rows`, `[token, width]`, to `slots[i]`, rounded to the pages' format. No
    /// slot is named twice.
    fn write_rows(
        &self,
        pages: &mut Self::Pages,
        slots: &[Slot],
        rows: &Self::Tensor,
    ) -> Result<(), KernelError>;

    /// Makes what is cached of each token, `[c_kv after its norm | rotated key]`, and writes token
    /// `i`'s to `slots[i]`, as [`write_rows`](Self::write_rows) does.
    fn write_latents(
        &self,
        pages: &mut Self::Pages,
        slots: &[Slot],
        latents: &Latents<'_, Self>,
    ) -> Result<(), KernelError> {
        check_latents(latents.kv_a.shape(), latents.gain.shape(), slots.len())?;
        self.write_rows(pages, slots, &latents.rows(self)?)
    }

    /// The rows at `slots`, `[slot, width]`.
    fn read_rows(&self, pages: &Self::Pages, slots: &[Slot]) -> Result<Self::Tensor, KernelError>;

    /// `o = Σ_j softmax_j(q · k_j * scale) v_j` over cached keys and values as they are.
    ///
    /// # Shapes
    /// - `q`: `[token, head, key_dim]`
    /// - `spans`: cover the tokens in order, without gaps
    /// - returns `[token, head, value_dim]`
    ///
    /// A token that sees no key gives 0; no token gives an empty array.
    fn attend(
        &self,
        q: &Self::Tensor,
        pages: &Self::Pages,
        spans: &[Span],
        layout: RowLayout,
        scale: f64,
    ) -> Result<Self::Tensor, KernelError>;

    /// Latent attention in the expanded form: every head's keys and values are computed from the
    /// latents of the span, then attended to.
    ///
    /// # Shapes
    /// - `q`: `[token, head, qk_nope_head_dim + qk_rope_head_dim]`, rotated part last
    /// - `pages`: rows `[c_kv | rotated key]`
    /// - `kv_b`: `[head * (qk_nope_head_dim + v_head_dim), kv_lora_rank]`
    /// - returns `[token, head, v_head_dim]`
    ///
    /// # Source
    /// DeepSeek-V2 (arXiv 2405.04434), section 2.1.2.
    fn attend_expanded(
        &self,
        q: &Self::Tensor,
        pages: &Self::Pages,
        spans: &[Span],
        kv_b: &Self::KvB,
        dims: LatentDims,
        scale: f64,
    ) -> Result<Self::Tensor, KernelError>;

    /// `q~_i = W_UK_iᵀ q_i`: a query that meets latents instead of keys.
    ///
    /// # Shapes
    /// - `q_nope`: `[token, head, qk_nope_head_dim]`
    /// - returns `[token, head, kv_lora_rank]`
    fn absorb_query(
        &self,
        q_nope: &Self::Tensor,
        kv_b: &Self::KvB,
        dims: LatentDims,
    ) -> Result<Self::Tensor, KernelError>;

    /// The queries that meet cached latents: the part without position absorbed, the rotated part
    /// behind it.
    ///
    /// # Shapes
    /// - `q`: `[token, head, qk_nope_head_dim + qk_rope_head_dim]`
    /// - returns `[token, head, kv_lora_rank + qk_rope_head_dim]`
    fn absorbed_query(
        &self,
        q: &Self::Tensor,
        kv_b: &Self::KvB,
        dims: LatentDims,
    ) -> Result<Self::Tensor, KernelError> {
        let (q_nope, q_rope) = self.split_columns(q, dims.qk_nope_head_dim)?;
        self.join_columns(&self.absorb_query(&q_nope, kv_b, dims)?, &q_rope)
    }

    /// `o_i = W_UV_i o~_i`: a mean of latents becomes a mean of values.
    ///
    /// # Shapes
    /// - `o_latent`: `[token, head, kv_lora_rank]`
    /// - returns `[token, head, v_head_dim]`
    fn expand_values(
        &self,
        o_latent: &Self::Tensor,
        kv_b: &Self::KvB,
        dims: LatentDims,
    ) -> Result<Self::Tensor, KernelError>;
}

/// Proves the arguments of [`Attend::attend`] for rows of `width` elements.
///
/// # Errors
/// [`KernelError::Shape`] when the query does not fit the layout, the layout the row, or the spans
/// the batch.
pub fn check_attend(
    q: &[usize],
    width: usize,
    spans: &[Span],
    layout: RowLayout,
) -> Result<(), KernelError> {
    let RowLayout { kv_heads, key_dim, value_dim, value_offset } = layout;
    let keys_end = kv_heads.checked_mul(key_dim);
    let values_end = kv_heads.checked_mul(value_dim).and_then(|n| n.checked_add(value_offset));
    if !(keys_end.is_some_and(|n| n <= width) && values_end.is_some_and(|n| n <= width)) {
        return Err(KernelError::shape("attend: row", &[width], format!("want {layout:?}")));
    }
    match *q {
        [tokens, heads, dim] if dim == key_dim && groups(heads, kv_heads) => {
            check_spans(tokens, spans)
        }
        _ => {
            let wanted = format!("want [token, a multiple of {kv_heads}, {key_dim}]");
            Err(KernelError::shape("attend: q", q, wanted))
        }
    }
}

/// Proves the arguments of [`Attend::attend_expanded`] for rows of `width` elements.
///
/// # Errors
/// [`KernelError::Shape`] when an argument does not fit `dims`, or the spans the batch.
pub fn check_expanded(
    q: &[usize],
    width: usize,
    spans: &[Span],
    kv_b: [usize; 2],
    dims: LatentDims,
) -> Result<(), KernelError> {
    let row = dims.kv_lora_rank + dims.qk_rope_head_dim;
    if width != row {
        return Err(KernelError::shape("attend: row", &[width], format!("want [{row}]")));
    }
    let tokens = check_heads("attend: q", q, dims.qk_nope_head_dim + dims.qk_rope_head_dim, dims)?;
    check_kv_b(kv_b, dims)?;
    check_spans(tokens, spans)
}

/// Proves that `rows` are of `width` elements, one for each of `slots`.
fn check_rows(rows: &[usize], slots: &[Slot], width: usize) -> Result<(), KernelError> {
    KernelError::check_shape("write: rows", rows, &[slots.len(), width])
}

/// Proves the shapes of [`Latents`] of so many tokens.
fn check_latents(kv_a: &[usize], gain: &[usize], tokens: usize) -> Result<(), KernelError> {
    match (kv_a, gain) {
        (&[found, width], &[rank]) if found == tokens && rank <= width => Ok(()),
        _ => {
            let wanted = format!("want [{tokens}, more than the gain's {gain:?}]");
            Err(KernelError::shape("latents: kv_a", kv_a, wanted))
        }
    }
}

/// Proves `x` to be `[token, head, dim]` and returns the number of tokens.
pub(crate) fn check_heads(
    name: &str,
    x: &[usize],
    dim: usize,
    dims: LatentDims,
) -> Result<usize, KernelError> {
    match *x {
        [tokens, heads, found] if heads == dims.num_attention_heads && found == dim => Ok(tokens),
        _ => {
            let wanted = format!("want [token, {}, {dim}]", dims.num_attention_heads);
            Err(KernelError::shape(name, x, wanted))
        }
    }
}

pub(crate) fn check_kv_b(found: [usize; 2], dims: LatentDims) -> Result<(), KernelError> {
    KernelError::check_shape("attend: kv_b", &found, &dims.kv_b_shape())
}

fn groups(heads: usize, kv_heads: usize) -> bool {
    kv_heads > 0 && heads.is_multiple_of(kv_heads)
}

fn check_spans(tokens: usize, spans: &[Span]) -> Result<(), KernelError> {
    let mut next = 0_usize;
    for span in spans {
        let pages = span.keys().div_ceil(PAGE_TOKENS);
        if span.first != next || span.pages.len() < pages {
            let wanted = format!("want the first row {next} and {pages} pages");
            let found = [span.first, span.pages.len()];
            return Err(KernelError::shape("attend: span", &found, wanted));
        }
        next = next.saturating_add(span.tokens);
    }
    if next == tokens {
        return Ok(());
    }
    Err(KernelError::shape("attend: spans", &[next], format!("want {tokens} tokens")))
}
