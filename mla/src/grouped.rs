//! MHA, GQA and MQA: keys and values of their own per group of heads.

use latent_kernels::{KernelError, RopeTable, Tensor, Weight};

use crate::weights::Loader;
use crate::{Attend, AttentionConfig, GqaConfig, MlaError, PagedCache, RowLayout, Step};

mod backward;

pub use backward::SavedGrouped;

/// A layer of grouped attention.
///
/// # Source
/// Ainslie et al. (arXiv 2305.13245), section 2.2.
#[derive(Debug)]
pub struct GroupedAttention<B: Attend> {
    config: AttentionConfig,
    sizes: GqaConfig,
    rope: RopeTable,
    q_proj: B::Matrix,
    k_proj: B::Matrix,
    v_proj: B::Matrix,
    o_proj: B::Matrix,
}

impl<B: Attend> GroupedAttention<B> {
    /// Loads the layer: `get` is asked for each tensor of [`GqaConfig::tensors`] by name.
    ///
    /// # Errors
    /// [`MlaError::Config`] when a size is not usable, [`MlaError::Weight`] when a shape does not
    /// fit, and whatever `get` returns.
    pub fn new<E: From<MlaError>>(
        backend: &B,
        config: &GqaConfig,
        get: &mut dyn FnMut(&str) -> Result<Weight, E>,
    ) -> Result<Self, E> {
        config.validate()?;
        let mut load = Loader::new(backend, config.tensors(), get);
        Ok(Self {
            config: AttentionConfig::Grouped(config.clone()),
            rope: config.rope_table()?,
            sizes: config.clone(),
            q_proj: load.matrix("q_proj.weight")?,
            k_proj: load.matrix("k_proj.weight")?,
            v_proj: load.matrix("v_proj.weight")?,
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
    ) -> Result<B::Tensor, MlaError> {
        let (_, o) = self.attended(backend, x, cache, step, layer)?;
        Ok(backend.linear(&o, &self.o_proj)?)
    }

    /// The rotated queries, and what they attend to, `[token, head * head_dim]`.
    fn attended(
        &self,
        backend: &B,
        x: &B::Tensor,
        cache: &mut PagedCache<B>,
        step: &Step,
        layer: usize,
    ) -> Result<(B::Tensor, B::Tensor), MlaError> {
        cache.check(step, layer, &self.config)?;
        let GqaConfig { num_attention_heads: heads, num_key_value_heads, head_dim, .. } =
            self.sizes;

        let [q, k, v] = backend.linears(x, [&self.q_proj, &self.k_proj, &self.v_proj])?;
        let q = self.rotated(backend, q, heads, step)?;
        let k = self.rotated(backend, k, num_key_value_heads, step)?;
        let k = backend.reshape(k, &[step.tokens(), num_key_value_heads * head_dim])?;
        cache.write(step, layer, &backend.join_columns(&k, &v)?)?;

        let (layout, scale) = (self.layout(), self.sizes.softmax_scale());
        let o = backend.attend(&q, cache.pages(layer)?, step.spans(), layout, scale)?;
        Ok((q, backend.reshape(o, &[step.tokens(), heads * head_dim])?))
    }

    /// Where keys and values lie in a cached row.
    fn layout(&self) -> RowLayout {
        let GqaConfig { num_key_value_heads, head_dim, .. } = self.sizes;
        RowLayout {
            kv_heads: num_key_value_heads,
            key_dim: head_dim,
            value_dim: head_dim,
            value_offset: num_key_value_heads * head_dim,
        }
    }

    /// `[token, heads * head_dim]` as rotated heads, `[token, heads, head_dim]`.
    fn rotated(
        &self,
        backend: &B,
        x: B::Tensor,
        heads: usize,
        step: &Step,
    ) -> Result<B::Tensor, KernelError> {
        let tokens = x.shape()[0];
        let x = backend.reshape(x, &[tokens, heads, self.sizes.head_dim])?;
        backend.rope(&x, &self.rope, step.positions())
    }
}
