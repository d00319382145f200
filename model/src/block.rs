//! One transformer layer: attention and a feed-forward block, each behind a norm and around it the
//! residual stream.

use latent_kernels::{Backend, Reference, TensorSpec, Weight};
use latent_mla::{Attend, Attention, Form, PagedCache, Step};
use latent_moe::{Experts, Mlp, MoeLayer};

use crate::ModelError;
use crate::config::ModelConfig;

mod backward;

pub use backward::LayerGradients;
pub(crate) use backward::{Balancing, SavedBlock};

/// The feed-forward half of a layer.
#[derive(Debug)]
enum FeedForward<B: Backend + Experts> {
    Dense(Mlp<B>),
    Moe(MoeLayer<B>),
}

/// A layer: `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
#[derive(Debug)]
pub(crate) struct Block<B: Attend + Experts> {
    input_layernorm: B::Tensor,
    self_attn: Attention<B>,
    post_attention_layernorm: B::Tensor,
    mlp: FeedForward<B>,
    eps: f64,
}

impl<B: Attend + Experts> Block<B> {
    /// A layer of the weights that `get` returns by their names relative to the layer.
    ///
    /// # Errors
    /// Those of `get`, and a shape error for a weight that does not fit `config`.
    pub(crate) fn new(
        backend: &B,
        config: &ModelConfig,
        layer: usize,
        get: &mut dyn FnMut(&str) -> Result<Weight, ModelError>,
    ) -> Result<Self, ModelError> {
        let input_layernorm = backend.vector(&get("input_layernorm.weight")?)?;
        let self_attn = Attention::new(backend, &config.attention, &mut |name: &str| {
            get(&format!("self_attn.{name}"))
        })?;
        let post_attention_layernorm = backend.vector(&get("post_attention_layernorm.weight")?)?;
        let mut get_mlp = |name: &str| get(&format!("mlp.{name}"));
        let mlp = match moe_config(config, layer) {
            Some(moe) => FeedForward::Moe(MoeLayer::new(backend, moe, &mut get_mlp)?),
            None => {
                let (hidden, inner) = (config.hidden_size, config.intermediate_size);
                FeedForward::Dense(Mlp::new(backend, hidden, inner, &mut get_mlp)?)
            }
        };
        let eps = config.rms_norm_eps;
        Ok(Self { input_layernorm, self_attn, post_attention_layernorm, mlp, eps })
    }

    /// The layer's result for `x` `[token, hidden]`, and what its gate chose if it has one.
    ///
    /// Keys and values of the step's tokens are written to layer `layer` of `cache`.
    ///
    /// # Errors
    /// [`ModelError`] of the part that refused.
    pub(crate) fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        cache: &mut PagedCache<B>,
        step: &Step,
        layer: usize,
        form: Form,
    ) -> Result<(B::Tensor, Option<B::Routing>), ModelError> {
        let normed = backend.rms_norm(x, &self.input_layernorm, self.eps)?;
        let attended = self.self_attn.forward(backend, &normed, cache, step, layer, form)?;
        let x = backend.add(x, &attended)?;
        let normed = backend.rms_norm(&x, &self.post_attention_layernorm, self.eps)?;
        let (fed, routing) = match &self.mlp {
            FeedForward::Dense(mlp) => (mlp.forward(backend, &normed)?, None),
            FeedForward::Moe(moe) => {
                let (fed, routing) = moe.forward(backend, &normed)?;
                (fed, Some(routing))
            }
        };
        Ok((backend.add(&x, &fed)?, routing))
    }
}

/// What layer `layer` wants from a checkpoint, relative to `model.layers.{layer}.`.
pub(crate) fn block_tensors(config: &ModelConfig, layer: usize) -> Vec<TensorSpec> {
    let hidden = config.hidden_size;
    let mut specs = vec![
        TensorSpec::new("input_layernorm.weight", &[hidden]),
        TensorSpec::new("post_attention_layernorm.weight", &[hidden]),
    ];
    specs.extend(config.attention.tensors().into_iter().map(|t| t.under("self_attn.")));
    let mlp = match moe_config(config, layer) {
        Some(moe) => moe.tensors(),
        None => Mlp::<Reference<f32>>::tensors(hidden, config.intermediate_size),
    };
    specs.extend(mlp.into_iter().map(|t| t.under("mlp.")));
    specs
}

/// The experts of a layer, if it has them.
fn moe_config(config: &ModelConfig, layer: usize) -> Option<&latent_moe::MoeConfig> {
    let moe = config.moe.as_ref()?;
    config.is_moe(layer).then_some(&moe.config)
}
