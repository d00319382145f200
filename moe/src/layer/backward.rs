//! The gradients of a mixture-of-experts layer.

use latent_kernels::{Gradients, Scalar, Tensor};

use super::{GATE, MoeLayer, SHARED, expert};
use crate::balance::BalanceLosses;
use crate::mlp::SavedMlp;
use crate::{ExpertsBackward, MoeError, SavedRouted};

/// What a layer keeps of a forward pass for its gradients.
#[derive(Debug)]
pub struct SavedMoe<B: ExpertsBackward> {
    logits: B::Tensor, // [token, n_routed_experts]
    routing: B::Routing,
    routed: SavedRouted<B>,
    shared: Option<SavedMlp<B>>,
}

impl<B: ExpertsBackward> SavedMoe<B> {
    /// The choice that the layer made.
    pub fn routing(&self) -> &B::Routing {
        &self.routing
    }

    /// The elements that are kept.
    pub fn elements(&self) -> usize {
        let shared = self.shared.as_ref().map_or(0, SavedMlp::elements);
        [&self.logits, &self.routed.gate, &self.routed.up]
            .map(Tensor::elements)
            .iter()
            .sum::<usize>()
            + shared
    }
}

impl<B: ExpertsBackward> MoeLayer<B> {
    /// [`forward`](Self::forward), bit for bit, with what [`backward`](Self::backward) needs.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward).
    pub fn forward_saving(
        &self,
        backend: &B,
        x: &B::Tensor,
    ) -> Result<(B::Tensor, SavedMoe<B>), MoeError> {
        let logits = self.router_logits(backend, x)?;
        let routing = backend.route(&logits, self.bias.as_ref(), &self.config.gate)?;
        let (mut y, routed) = backend.routed_saving(&self.experts, x, &routing)?;
        let mut shared = None;
        if let Some(block) = &self.shared {
            let (more, saved) = block.forward_saving(backend, x)?;
            y = backend.add(&y, &more)?;
            shared = Some(saved);
        }
        Ok((y, SavedMoe { logits, routing, routed, shared }))
    }

    /// What the losses on the router are for the tokens of a forward pass, and their gradient by its
    /// logits, `[token, n_routed_experts]`.
    ///
    /// # Errors
    /// Those of [`BalanceLosses::of`].
    pub fn balance(
        &self,
        backend: &B,
        saved: &SavedMoe<B>,
        losses: &BalanceLosses,
        lengths: &[usize],
    ) -> Result<(f64, B::Tensor), MoeError> {
        let gate = &self.config.gate;
        let logits: Vec<f64> =
            backend.download(&saved.logits)?.into_iter().map(Scalar::as_f64).collect();
        let routing = backend.host_routing(&saved.routing)?;
        let (loss, d_logits) = losses.of(&logits, &routing, lengths, gate.scoring_func)?;
        let d_logits: Vec<_> = d_logits.into_iter().map(Scalar::from_f64).collect();
        Ok((loss, backend.upload(&d_logits, &[routing.tokens(), gate.n_routed_experts])?))
    }

    /// The gradients of a loss by `x` and by the weights, from `dy = ∂L/∂y` and, where other losses are
    /// on the router, from `d_logits`, their gradient by its logits.
    ///
    /// # Shapes
    /// - `x`, `dy`: `[token, hidden_size]`
    /// - `d_logits`: `[token, n_routed_experts]`, of [`balance`](Self::balance)
    /// - returns `dx` as `x`, and a gradient for each tensor of
    ///   [`MoeConfig::tensors`](crate::MoeConfig::tensors) but the bias, which has none
    ///
    /// # Errors
    /// [`MoeError`] when an array does not fit, or `saved` is of other tokens.
    pub fn backward(
        &self,
        backend: &B,
        x: &B::Tensor,
        saved: &SavedMoe<B>,
        dy: &B::Tensor,
        d_logits: Option<&B::Tensor>,
    ) -> Result<(B::Tensor, Gradients<B::Tensor>), MoeError> {
        let mut gradients = Gradients::default();
        let SavedMoe { logits, routing, routed, shared } = saved;
        let of_routed = backend.routed_backward(&self.experts, x, routing, routed, dy)?;
        for (e, of_expert) in of_routed.experts.into_iter().enumerate() {
            gradients.extend(of_expert.named().under(&expert(e)));
        }
        let mut dx = of_routed.dx;
        if let (Some(block), Some(saved)) = (&self.shared, shared) {
            let (more, of_shared) = block.backward(backend, x, saved, dy)?;
            dx = backend.add(&dx, &more)?;
            gradients.extend(of_shared.named().under(SHARED));
        }
        let gate = &self.config.gate;
        let mut d_router = backend.route_backward(logits, routing, gate, &of_routed.d_weights)?;
        if let Some(more) = d_logits {
            d_router = backend.add(&d_router, more)?;
        }
        gradients.push(GATE, backend.linear_grad_weight(x, &d_router, &self.gate)?);
        let dx = backend.add(&dx, &backend.linear_grad_input(&d_router, &self.gate)?)?;
        Ok((dx, gradients))
    }
}
