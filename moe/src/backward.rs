//! The gradients of gate and experts: what a backend must be able to do to train a layer.

use latent_kernels::{Backend, Backward, Gradients};

use crate::{Experts, GateConfig, MoeError};

mod cpu;
mod reference;

/// What routed experts keep of a forward pass for their gradients.
#[derive(Debug)]
pub struct SavedRouted<B: Backend> {
    /// What each dispatched row's gate was, `[row, moe_intermediate_size]`, sorted by expert.
    pub gate: B::Tensor,
    /// What it multiplied, the same.
    pub up: B::Tensor,
}

/// The gradients of one feed-forward block by its weights, each in the shape of its weight.
#[derive(Debug, Clone)]
pub struct MlpGradients<B: Backend> {
    /// `[inner, hidden]`
    pub gate_proj: B::Tensor,
    /// `[inner, hidden]`
    pub up_proj: B::Tensor,
    /// `[hidden, inner]`
    pub down_proj: B::Tensor,
}

impl<B: Backend> MlpGradients<B> {
    /// The three by their names, relative to the block.
    pub fn named(self) -> Gradients<B::Tensor> {
        let mut named = Gradients::default();
        named.push("gate_proj.weight", self.gate_proj);
        named.push("up_proj.weight", self.up_proj);
        named.push("down_proj.weight", self.down_proj);
        named
    }
}

/// The gradients of the routed part of a layer.
#[derive(Debug)]
pub struct RoutedGradients<B: Backend> {
    /// By its input, `[token, hidden]`.
    pub dx: B::Tensor,
    /// By the weights of the chosen experts, `[token, num_experts_per_tok]`, ascending by expert.
    pub d_weights: B::Tensor,
    /// By the weights of each expert; zeros for one that no token chose.
    pub experts: Vec<MlpGradients<B>>,
}

/// A backend with the gradients of [`Experts`]' operations.
///
/// [`Reference`](latent_kernels::Reference) is the definition. Which experts are chosen has no gradient,
/// and neither has the bias; gradients reach a router through the weights of the chosen experts. Sums
/// over an expert's rows run in the order of their tokens.
///
/// Each method returns [`MoeError`] when its arguments do not fit together.
#[expect(clippy::missing_errors_doc, reason = "all share the errors named in the trait's text")]
pub trait ExpertsBackward: Experts + Backward {
    /// The gradient of [`route`](Experts::route)'s weights by the logits: see
    /// [`gate::backward`](crate::gate::backward).
    ///
    /// # Shapes
    /// - `d_weights`: `[token, num_experts_per_tok]`
    /// - returns `[token, n_routed_experts]`
    fn route_backward(
        &self,
        logits: &Self::Tensor,
        routing: &Self::Routing,
        gate: &GateConfig,
        d_weights: &Self::Tensor,
    ) -> Result<Self::Tensor, MoeError>;

    /// [`routed`](Experts::routed), bit for bit, with what
    /// [`routed_backward`](Self::routed_backward) needs.
    fn routed_saving(
        &self,
        experts: &Self::ExpertStack,
        x: &Self::Tensor,
        routing: &Self::Routing,
    ) -> Result<(Self::Tensor, SavedRouted<Self>), MoeError>;

    /// The gradients of [`routed`](Experts::routed).
    ///
    /// # Shapes
    /// - `x`, `dy`: `[token, hidden]`
    fn routed_backward(
        &self,
        experts: &Self::ExpertStack,
        x: &Self::Tensor,
        routing: &Self::Routing,
        saved: &SavedRouted<Self>,
        dy: &Self::Tensor,
    ) -> Result<RoutedGradients<Self>, MoeError>;
}
