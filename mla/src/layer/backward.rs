//! The gradients of an attention layer of any kind.

use latent_kernels::{Gradients, KernelError, Tensor};

use crate::grouped::SavedGrouped;
use crate::latent::SavedLatent;
use crate::{AttendBackward, Attention, Form, MlaError, PagedCache, Step, Written};

/// What an attention layer keeps of a forward pass for its gradients.
#[derive(Debug)]
pub enum SavedAttention<B: AttendBackward> {
    /// Of latent attention.
    Latent(SavedLatent<B>),
    /// Of MHA, GQA or MQA.
    Grouped(SavedGrouped<B>),
}

impl<B: AttendBackward> SavedAttention<B> {
    /// The elements that are kept; the cached rows are in the cache.
    pub fn elements(&self) -> usize {
        match self {
            Self::Latent(saved) => saved.elements(),
            Self::Grouped(saved) => saved.elements(),
        }
    }
}

impl<B: AttendBackward> Attention<B> {
    /// [`forward`](Self::forward), bit for bit, with what [`backward`](Self::backward) needs.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward), and [`MlaError::Config`] for [`Form::Auto`] with latent
    /// attention: gradients want a fixed form.
    pub fn forward_saving(
        &self,
        backend: &B,
        x: &B::Tensor,
        cache: &mut PagedCache<B>,
        step: &Step,
        layer: usize,
        form: Form,
    ) -> Result<(B::Tensor, SavedAttention<B>), MlaError> {
        self.check_rows("attention: x", x.shape(), step)?;
        Ok(match self {
            Self::Latent(l) => {
                let (y, saved) = l.forward_saving(backend, x, cache, step, layer, form)?;
                (y, SavedAttention::Latent(saved))
            }
            Self::Grouped(l) => {
                let (y, saved) = l.forward_saving(backend, x, cache, step, layer)?;
                (y, SavedAttention::Grouped(saved))
            }
        })
    }

    /// The gradients of a loss by `x` and by the weights, from `dy = ∂L/∂y`.
    ///
    /// `written` names the cache, step and layer of [`forward_saving`](Self::forward_saving), the step
    /// not committed yet; each sequence of the step was empty before it.
    ///
    /// # Shapes
    /// - `x`, `dy`: `[token, hidden_size]`
    /// - returns `dx`, `[token, hidden_size]`, and a gradient for each tensor of
    ///   [`AttentionConfig::tensors`](crate::AttentionConfig::tensors), in its shape
    ///
    /// # Errors
    /// [`MlaError::StaleStep`], [`MlaError::Layer`] and [`MlaError::CacheConfig`] when the cache does
    /// not fit, [`MlaError::Kernel`] when `x` or `dy` does not, when `saved` is of another layer or
    /// step, or a sequence is continued by the step.
    pub fn backward(
        &self,
        backend: &B,
        x: &B::Tensor,
        saved: &SavedAttention<B>,
        written: Written<'_, B>,
        dy: &B::Tensor,
    ) -> Result<(B::Tensor, Gradients<B::Tensor>), MlaError> {
        self.check_rows("attention: x", x.shape(), written.step)?;
        self.check_rows("attention: dy", dy.shape(), written.step)?;
        match (self, saved) {
            (Self::Latent(l), SavedAttention::Latent(saved)) => {
                l.backward(backend, x, saved, written, dy)
            }
            (Self::Grouped(l), SavedAttention::Grouped(saved)) => {
                l.backward(backend, x, saved, written, dy)
            }
            (Self::Latent(_), SavedAttention::Grouped(_))
            | (Self::Grouped(_), SavedAttention::Latent(_)) => {
                let found = [saved.elements()];
                Err(KernelError::shape("attention: saved", &found, "want that of this layer")
                    .into())
            }
        }
    }
}
