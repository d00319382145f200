//! The gradients of a transformer layer.

use latent_kernels::{Gradients, Tensor};
use latent_mla::{AttendBackward, Form, PagedCache, SavedAttention, Step, Written};
use latent_moe::balance::BalanceLosses;
use latent_moe::{ExpertsBackward, SavedMlp, SavedMoe};

use super::{Block, FeedForward};
use crate::ModelError;

/// What a layer keeps of a forward pass for its gradients. The results of norms are computed again.
#[derive(Debug)]
pub(crate) struct SavedBlock<B: AttendBackward + ExpertsBackward> {
    attention: SavedAttention<B>,
    attended: B::Tensor, // [token, hidden], the residual stream behind attention
    mlp: SavedFeedForward<B>,
}

#[derive(Debug)]
enum SavedFeedForward<B: AttendBackward + ExpertsBackward> {
    Dense(SavedMlp<B>),
    Moe(SavedMoe<B>),
}

impl<B: AttendBackward + ExpertsBackward> SavedBlock<B> {
    /// What the layer's gate chose, if it has one.
    pub(crate) fn routing(&self) -> Option<&B::Routing> {
        match &self.mlp {
            SavedFeedForward::Dense(_) => None,
            SavedFeedForward::Moe(saved) => Some(saved.routing()),
        }
    }

    /// The elements that are kept.
    pub(crate) fn elements(&self) -> usize {
        let of_mlp = match &self.mlp {
            SavedFeedForward::Dense(saved) => saved.elements(),
            SavedFeedForward::Moe(saved) => saved.elements(),
        };
        self.attention.elements() + self.attended.elements() + of_mlp
    }
}

/// The gradients of a layer.
#[derive(Debug)]
pub struct LayerGradients<B: AttendBackward + ExpertsBackward> {
    /// By its input, `[token, hidden]`.
    pub dx: B::Tensor,
    /// By its weights. A name may occur more than once: such gradients are to be added.
    pub gradients: Gradients<B::Tensor>,
    /// What the losses on its router are, which were added to the loss; 0 without a router.
    pub balance: f64,
}

/// The losses on routers that a backward pass adds, and over which sequences they go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Balancing<'a> {
    pub(crate) losses: &'a BalanceLosses,
    pub(crate) lengths: &'a [usize],
}

impl<B: AttendBackward + ExpertsBackward> Block<B> {
    /// [`forward`](Self::forward) in a fixed form, bit for bit, with what
    /// [`backward`](Self::backward) needs.
    pub(crate) fn forward_saving(
        &self,
        backend: &B,
        x: &B::Tensor,
        cache: &mut PagedCache<B>,
        step: &Step,
        layer: usize,
        form: Form,
    ) -> Result<(B::Tensor, SavedBlock<B>), ModelError> {
        let normed = backend.rms_norm(x, &self.input_layernorm, self.eps)?;
        let (y, attention) =
            self.self_attn.forward_saving(backend, &normed, cache, step, layer, form)?;
        let attended = backend.add(x, &y)?;
        let normed = backend.rms_norm(&attended, &self.post_attention_layernorm, self.eps)?;
        let (y, mlp) = match &self.mlp {
            FeedForward::Dense(mlp) => {
                let (y, saved) = mlp.forward_saving(backend, &normed)?;
                (y, SavedFeedForward::Dense(saved))
            }
            FeedForward::Moe(moe) => {
                let (y, saved) = moe.forward_saving(backend, &normed)?;
                (y, SavedFeedForward::Moe(saved))
            }
        };
        Ok((backend.add(&attended, &y)?, SavedBlock { attention, attended, mlp }))
    }

    /// The gradients from `dy`, named relative to the layer.
    pub(crate) fn backward(
        &self,
        backend: &B,
        x: &B::Tensor,
        saved: &SavedBlock<B>,
        written: Written<'_, B>,
        dy: &B::Tensor,
        balancing: Balancing<'_>,
    ) -> Result<LayerGradients<B>, ModelError> {
        let SavedBlock { attention, attended, mlp } = saved;
        let mut gradients = Gradients::default();
        let mut balance = 0.0;

        let gain = &self.post_attention_layernorm;
        let normed = backend.rms_norm(attended, gain, self.eps)?;
        let d_normed = match (&self.mlp, mlp) {
            (FeedForward::Moe(moe), SavedFeedForward::Moe(saved)) => {
                let mut d_logits = None;
                if !balancing.losses.is_none() {
                    let (losses, lengths) = (balancing.losses, balancing.lengths);
                    let (loss, d) = moe.balance(backend, saved, losses, lengths)?;
                    (balance, d_logits) = (loss, Some(d));
                }
                let (d, g) = moe.backward(backend, &normed, saved, dy, d_logits.as_ref())?;
                gradients.extend(g.under("mlp."));
                d
            }
            (FeedForward::Dense(mlp), SavedFeedForward::Dense(saved)) => {
                let (d, g) = mlp.backward(backend, &normed, saved, dy)?;
                gradients.extend(g.named().under("mlp."));
                d
            }
            _ => unreachable!("a layer saves what it is made of"),
        };
        let (d, d_gain) = backend.rms_norm_backward(attended, gain, self.eps, &d_normed)?;
        gradients.push("post_attention_layernorm.weight", d_gain);
        let d_attended = backend.add(dy, &d)?;

        let gain = &self.input_layernorm;
        let normed = backend.rms_norm(x, gain, self.eps)?;
        let (d_normed, g) =
            self.self_attn.backward(backend, &normed, attention, written, &d_attended)?;
        gradients.extend(g.under("self_attn."));
        let (d, d_gain) = backend.rms_norm_backward(x, gain, self.eps, &d_normed)?;
        gradients.push("input_layernorm.weight", d_gain);
        Ok(LayerGradients { dx: backend.add(&d_attended, &d)?, gradients, balance })
    }
}
