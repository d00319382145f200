//! Multi-token prediction: one more layer that predicts the token after the next.

use latent_kernels::{KernelError, TensorSpec, Weight};
use latent_mla::{Attend, Form, PagedCache};
use latent_moe::Experts;

use crate::block::{Block, block_tensors};
use crate::config::ModelConfig;
use crate::model::{Feed, in_step};
use crate::{Model, ModelError};

mod backward;

pub use backward::SavedMtp;

/// A multi-token-prediction layer.
///
/// At position `i` it joins the embedding of token `i + 1` with what the main model made of tokens
/// `..= i`, and predicts token `i + 2`. Embedding and head are the main model's: released files
/// repeat both.
///
/// In the released weights the embedding is the first half of `eh_proj`'s input; the paper writes
/// it second.
///
/// # Source
/// DeepSeek-V3 (arXiv 2412.19437), section 2.2, equations 21 to 23.
#[derive(Debug)]
pub(crate) struct MtpLayer<B: Attend + Experts> {
    enorm: B::Tensor,
    hnorm: B::Tensor,
    eh_proj: B::Matrix,
    block: Block<B>,
    norm: B::Tensor,
}

impl<B: Attend + Experts> MtpLayer<B> {
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
        let mut vector =
            |name: &str| -> Result<B::Tensor, ModelError> { Ok(backend.vector(&get(name)?)?) };
        let (enorm, hnorm) = (vector("enorm.weight")?, vector("hnorm.weight")?);
        let norm = vector("shared_head.norm.weight")?;
        let eh_proj = backend.matrix(get("eh_proj.weight")?)?;
        let block = Block::new(backend, config, layer, get)?;
        Ok(Self { enorm, hnorm, eh_proj, block, norm })
    }

    /// Both inputs behind their norms, side by side, `[token, 2 hidden]`.
    fn joined(
        &self,
        backend: &B,
        embedded: &B::Tensor,
        hidden: &B::Tensor,
        eps: f64,
    ) -> Result<B::Tensor, KernelError> {
        let embedded = backend.rms_norm(embedded, &self.enorm, eps)?;
        backend.join_columns(&embedded, &backend.rms_norm(hidden, &self.hnorm, eps)?)
    }
}

/// What the layer at index `layer` wants from a checkpoint, relative to
/// `model.layers.{layer}.`.
pub(crate) fn mtp_tensors(config: &ModelConfig, layer: usize) -> Vec<TensorSpec> {
    let hidden = config.hidden_size;
    let mut specs = vec![
        TensorSpec::new("enorm.weight", &[hidden]),
        TensorSpec::new("hnorm.weight", &[hidden]),
        TensorSpec::new("eh_proj.weight", &[hidden, 2 * hidden]),
        TensorSpec::new("shared_head.norm.weight", &[hidden]),
    ];
    specs.extend(block_tensors(config, layer));
    specs
}

impl<B: Attend + Experts> Model<B> {
    /// An empty cache of `max_tokens` for one multi-token-prediction layer.
    ///
    /// # Errors
    /// [`ModelError::Attention`] when the size is not usable.
    pub fn mtp_cache(&self, max_tokens: usize) -> Result<PagedCache<B>, ModelError> {
        let layers = std::slice::from_ref(&self.config().attention);
        Ok(PagedCache::new(self.backend().clone(), layers, max_tokens)?)
    }

    /// What multi-token-prediction layer `index` makes of `hidden`, ready for
    /// [`logits`](Self::logits).
    ///
    /// # Shapes
    /// - `hidden`: `[token, hidden]`, from [`forward`](Self::forward) of the main model, or of the
    ///   layer before
    /// - `next`: for each sequence the tokens **after** those that `hidden` belongs to, one each
    /// - `cache`: from [`mtp_cache`](Self::mtp_cache), with sequences of its own
    /// - returns `[token, hidden]`
    ///
    /// # Errors
    /// [`ModelError::NoSuchMtpLayer`], or the error of the part that refused.
    pub fn forward_mtp(
        &self,
        index: usize,
        hidden: &B::Tensor,
        next: &[Feed<'_>],
        cache: &mut PagedCache<B>,
        form: Form,
    ) -> Result<B::Tensor, ModelError> {
        let (mtp, backend, eps) = (self.mtp(index)?, self.backend(), self.config().rms_norm_eps);
        let joined = mtp.joined(backend, &self.embed(next)?, hidden, eps)?;
        let x = backend.linear(&joined, &mtp.eh_proj)?;
        let x = in_step(cache, next, |cache, step| {
            Ok(mtp.block.forward(backend, &x, cache, step, 0, form)?.0)
        })?;
        Ok(backend.rms_norm(&x, &mtp.norm, eps)?)
    }

    fn mtp(&self, index: usize) -> Result<&MtpLayer<B>, ModelError> {
        let layers = self.mtp.len();
        self.mtp.get(index).ok_or(ModelError::NoSuchMtpLayer { found: index, layers })
    }
}
