//! An attention layer of any kind: project, rotate, append, attend, project.

use latent_kernels::{KernelError, Tensor, Weight};

use crate::{
    Attend, AttentionConfig, Form, GroupedAttention, LatentAttention, MlaError, PagedCache, Step,
};

mod backward;

pub use backward::SavedAttention;

/// One attention layer: any kind fits into any model.
///
/// ```
/// use latent_mla::kernels::{Backend, Dtype, PairLayout, Reference, Weight};
/// use latent_mla::{Attention, AttentionConfig, Form, GqaConfig, MlaError, PagedCache, RopeConfig};
/// # let rope = RopeConfig { theta: 1e4, yarn: None, layout: PairLayout::HalfSplit };
/// # let config = AttentionConfig::Grouped(GqaConfig {
/// #     hidden_size: 2, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 2, rope });
/// let cpu = Reference::<f64>::new();
/// let identity = |_: &str| Ok(Weight::encode(Dtype::F32, [2, 2], &[1.0_f32, 0.0, 0.0, 1.0])?);
/// let layer = Attention::new::<MlaError>(&cpu, &config, &mut { identity })?;
/// let mut cache = PagedCache::new(cpu, &[config], 64)?;
/// let a = cache.new_sequence();
/// let step = cache.begin(&[(a, 1)])?;
/// let x = cpu.upload(&[3.0, 4.0], &[1, 2])?;
/// let y = layer.forward(&cpu, &x, &mut cache, &step, 0, Form::Auto)?;
/// cache.commit(step)?;
/// assert_eq!(cpu.download(&y)?, [3.0, 4.0]); // one token attends to itself
/// # Ok::<(), MlaError>(())
/// ```
#[derive(Debug)]
pub enum Attention<B: Attend> {
    /// Multi-head latent attention.
    Latent(LatentAttention<B>),
    /// MHA, GQA or MQA.
    Grouped(GroupedAttention<B>),
}

impl<B: Attend> Attention<B> {
    /// Loads a layer: `get` is asked for each tensor of [`AttentionConfig::tensors`] by name.
    ///
    /// # Errors
    /// [`MlaError::Config`] when a size is not usable, [`MlaError::Weight`] when a shape does not
    /// fit, and whatever `get` returns.
    pub fn new<E: From<MlaError>>(
        backend: &B,
        config: &AttentionConfig,
        get: &mut dyn FnMut(&str) -> Result<Weight, E>,
    ) -> Result<Self, E> {
        Ok(match config {
            AttentionConfig::Latent(c) => Self::Latent(LatentAttention::new(backend, c, get)?),
            AttentionConfig::Grouped(c) => Self::Grouped(GroupedAttention::new(backend, c, get)?),
        })
    }

    /// The sizes of the layer.
    #[must_use]
    pub fn config(&self) -> &AttentionConfig {
        match self {
            Self::Latent(layer) => layer.config(),
            Self::Grouped(layer) => layer.config(),
        }
    }

    /// The bytes cached per token at `element_bytes` an element.
    #[must_use]
    pub fn bytes_per_token(&self, element_bytes: usize) -> usize {
        self.config().bytes_per_token(element_bytes)
    }

    /// Appends the tokens of `step` to layer `layer` of the cache and attends.
    ///
    /// `form` concerns latent attention alone. An empty step gives an empty array.
    ///
    /// # Shapes
    /// - `x`: `[token, hidden_size]`, the tokens of `step` in its order
    /// - returns `[token, hidden_size]`
    ///
    /// # Errors
    /// [`MlaError::StaleStep`], [`MlaError::Layer`] and [`MlaError::CacheConfig`] when the cache
    /// does not fit the step or the layer, [`MlaError::Kernel`] when `x` does not fit.
    pub fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        cache: &mut PagedCache<B>,
        step: &Step,
        layer: usize,
        form: Form,
    ) -> Result<B::Tensor, MlaError> {
        self.check_rows("attention: x", x.shape(), step)?;
        match self {
            Self::Latent(l) => l.forward(backend, x, cache, step, layer, form),
            Self::Grouped(l) => l.forward(backend, x, cache, step, layer),
        }
    }

    /// Proves that an array has a row of the residual stream for each token of `step`.
    fn check_rows(&self, name: &str, found: &[usize], step: &Step) -> Result<(), KernelError> {
        KernelError::check_shape(name, found, &[step.tokens(), self.config().hidden_size()])
    }
}
