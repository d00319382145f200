//! Multi-head latent attention: keys and values of all heads come from one latent per token.

use latent_kernels::{KernelError, RopeTable, Tensor, Weight};

use crate::weights::Loader;
use crate::{
    Attend, AttentionConfig, Form, LATENT_NORM_EPS, MlaConfig, MlaError, PagedCache, Span, Step,
};

mod backward;

pub use backward::SavedLatent;

/// How the query is projected: in one step, or through a latent of its own.
#[derive(Debug)]
pub enum Query<B: Attend> {
    /// `q = q_proj h`.
    Plain {
        /// `[head * qk_head_dim, hidden_size]`
        q_proj: B::Matrix,
    },
    /// `q = q_b_proj RMSNorm(q_a_proj h)`.
    Compressed {
        /// `[q_lora_rank, hidden_size]`
        q_a_proj: B::Matrix,
        /// `[q_lora_rank]`
        q_a_layernorm: B::Tensor,
        /// `[head * qk_head_dim, q_lora_rank]`
        q_b_proj: B::Matrix,
    },
}

/// A layer of multi-head latent attention.
///
/// The cached row is `[c_kv after its norm | rotated key]`; the rotated key keeps the pair order
/// of the stored weights.
///
/// # Source
/// DeepSeek-V2 (arXiv 2405.04434), section 2.1.
#[derive(Debug)]
pub struct LatentAttention<B: Attend> {
    config: AttentionConfig,
    sizes: MlaConfig,
    rope: RopeTable,
    query: Query<B>,
    kv_a_proj_with_mqa: B::Matrix, // [kv_lora_rank + qk_rope_head_dim, hidden_size]
    kv_a_layernorm: B::Tensor,     // [kv_lora_rank]
    kv_b_proj: B::KvB,             // [head * (qk_nope_head_dim + v_head_dim), kv_lora_rank]
    o_proj: B::Matrix,             // [hidden_size, head * v_head_dim]
}

/// What a layer makes of its tokens before they attend.
#[derive(Debug)]
struct Projected<B: Attend> {
    /// The query's latent before its norm, where it has one, `[token, q_lora_rank]`.
    c_q: Option<B::Tensor>,
    /// `[token, head, nope | rotated]`
    q: B::Tensor,
    /// What becomes the cached rows, `[token, kv_lora_rank + qk_rope_head_dim]`.
    kv_a: B::Tensor,
}

impl<B: Attend> LatentAttention<B> {
    /// Loads the layer: `get` is asked for each tensor of [`MlaConfig::tensors`] by name.
    ///
    /// # Errors
    /// [`MlaError::Config`] when a size is not usable, [`MlaError::Weight`] when a shape does not
    /// fit, and whatever `get` returns.
    pub fn new<E: From<MlaError>>(
        backend: &B,
        config: &MlaConfig,
        get: &mut dyn FnMut(&str) -> Result<Weight, E>,
    ) -> Result<Self, E> {
        config.validate()?;
        let mut load = Loader::new(backend, config.tensors(), get);
        let query = match config.q_lora_rank {
            None => Query::Plain { q_proj: load.matrix("q_proj.weight")? },
            Some(_) => Query::Compressed {
                q_a_proj: load.matrix("q_a_proj.weight")?,
                q_a_layernorm: load.vector("q_a_layernorm.weight")?,
                q_b_proj: load.matrix("q_b_proj.weight")?,
            },
        };
        Ok(Self {
            config: AttentionConfig::Latent(config.clone()),
            rope: config.rope_table()?,
            sizes: config.clone(),
            query,
            kv_a_proj_with_mqa: load.matrix("kv_a_proj_with_mqa.weight")?,
            kv_a_layernorm: load.vector("kv_a_layernorm.weight")?,
            kv_b_proj: load.kv_b("kv_b_proj.weight")?,
            o_proj: load.matrix("o_proj.weight")?,
        })
    }

    /// The sizes of the layer.
    #[must_use]
    pub fn config(&self) -> &AttentionConfig {
        &self.config
    }

    /// Appends the tokens of `step` to the cache and attends.
    ///
    /// # Shapes
    /// - `x`: `[token, hidden_size]`
    /// - returns `[token, hidden_size]`
    ///
    /// # Errors
    /// As [`Attention::forward`](crate::Attention::forward).
    pub fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        cache: &mut PagedCache<B>,
        step: &Step,
        layer: usize,
        form: Form,
    ) -> Result<B::Tensor, MlaError> {
        cache.check(step, layer, &self.config)?;
        let Projected { q, kv_a, .. } = self.projected(backend, x, step)?;
        cache.write_latents(step, layer, &kv_a, &self.kv_a_layernorm, &self.rope)?;
        let o = self.attend(backend, q, cache.pages(layer)?, step.spans(), form)?;
        Ok(backend.linear(&self.joined(backend, o)?, &self.o_proj)?)
    }

    fn projected(
        &self,
        backend: &B,
        x: &B::Tensor,
        step: &Step,
    ) -> Result<Projected<B>, KernelError> {
        let kv_a = &self.kv_a_proj_with_mqa;
        let (c_q, q, kv_a) = match &self.query {
            Query::Plain { q_proj } => {
                let [q, kv_a] = backend.linears(x, [q_proj, kv_a])?;
                (None, q, kv_a)
            }
            Query::Compressed { q_a_proj, q_a_layernorm, q_b_proj } => {
                let [c_q, kv_a] = backend.linears(x, [q_a_proj, kv_a])?;
                let normed = backend.rms_norm(&c_q, q_a_layernorm, LATENT_NORM_EPS)?;
                (Some(c_q), backend.linear(&normed, q_b_proj)?, kv_a)
            }
        };
        let heads = [step.tokens(), self.sizes.num_attention_heads, self.sizes.qk_head_dim()];
        let q = backend.rope(&backend.reshape(q, &heads)?, &self.rope, step.positions())?;
        Ok(Projected { c_q, q, kv_a })
    }

    /// The values of all heads side by side, `[token, head * v_head_dim]`.
    fn joined(&self, backend: &B, o: B::Tensor) -> Result<B::Tensor, KernelError> {
        let width = self.sizes.num_attention_heads * self.sizes.v_head_dim;
        let tokens = o.shape()[0];
        backend.reshape(o, &[tokens, width])
    }

    /// `[token, head, v_head_dim]`, each sequence in its form.
    fn attend(
        &self,
        backend: &B,
        q: B::Tensor,
        pages: &B::Pages,
        spans: &[Span],
        form: Form,
    ) -> Result<B::Tensor, KernelError> {
        let dims = self.sizes.dims();
        let (expanded, absorbed): (Vec<&Span>, Vec<&Span>) =
            spans.iter().partition(|s| form.resolve(dims, s.tokens, s.keys()) == Form::Expanded);
        if absorbed.is_empty() {
            return self.attend_expanded(backend, &q, pages, spans);
        }
        if expanded.is_empty() {
            return Ok(self.attend_absorbed(backend, &q, pages, spans)?.0);
        }
        let (rows, spans) = packed(&expanded);
        let part = backend.select_rows(&q, &rows)?;
        let first = self.attend_expanded(backend, &part, pages, &spans)?;
        let (more, spans) = packed(&absorbed);
        let part = backend.select_rows(&q, &more)?;
        let (second, _) = self.attend_absorbed(backend, &part, pages, &spans)?;

        let rows = [rows, more].concat();
        let mut back = vec![0; rows.len()];
        for (i, &row) in rows.iter().enumerate() {
            back[row] = i;
        }
        backend.select_rows(&stacked(backend, first, second)?, &back)
    }

    fn attend_expanded(
        &self,
        backend: &B,
        q: &B::Tensor,
        pages: &B::Pages,
        spans: &[Span],
    ) -> Result<B::Tensor, KernelError> {
        let scale = self.sizes.softmax_scale();
        backend.attend_expanded(q, pages, spans, &self.kv_b_proj, self.sizes.dims(), scale)
    }

    /// `[token, head, v_head_dim]`, and the means of latents that it was made of.
    fn attend_absorbed(
        &self,
        backend: &B,
        q: &B::Tensor,
        pages: &B::Pages,
        spans: &[Span],
    ) -> Result<(B::Tensor, B::Tensor), KernelError> {
        let (dims, scale) = (self.sizes.dims(), self.sizes.softmax_scale());
        let q = backend.absorbed_query(q, &self.kv_b_proj, dims)?;
        let o_latent = backend.attend(&q, pages, spans, dims.absorbed_layout(), scale)?;
        Ok((backend.expand_values(&o_latent, &self.kv_b_proj, dims)?, o_latent))
    }
}

/// The batch rows of some spans, and those spans over these rows alone.
fn packed(spans: &[&Span]) -> (Vec<usize>, Vec<Span>) {
    let rows = spans.iter().flat_map(|s| s.rows()).collect();
    let mut first = 0;
    let spans = spans
        .iter()
        .map(|span| {
            let moved = Span { first, ..(*span).clone() };
            first += span.tokens;
            moved
        })
        .collect();
    (rows, spans)
}

/// The rows of `a` followed by those of `b`.
fn stacked<B: Attend>(backend: &B, a: B::Tensor, b: B::Tensor) -> Result<B::Tensor, KernelError> {
    let mut shape = a.shape().to_vec();
    shape[0] += b.shape()[0];
    let flat = |x: B::Tensor| {
        let elements = x.shape().iter().product();
        backend.reshape(x, &[elements])
    };
    backend.reshape(backend.join_columns(&flat(a)?, &flat(b)?)?, &shape)
}
