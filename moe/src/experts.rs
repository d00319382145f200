//! The seam between a mixture-of-experts layer and the machine it runs on.

use std::fmt::Debug;

use latent_kernels::Backend;

use crate::{GateConfig, Mlp, MlpWeights, MoeError, Routing};

mod cpu;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
mod reference;

pub use cpu::CpuExperts;
pub(crate) use reference::check_experts;

/// A backend that can route tokens and run routed experts.
///
/// A routing stays where it was made, so that a layer on a device needs no read-back.
/// [`Reference`](latent_kernels::Reference) is the definition; other backends are held to it by
/// `experts_suite!` of the feature `suite`.
///
/// ```
/// use latent_moe::kernels::{Backend, Reference};
/// use latent_moe::{Experts, GateConfig, ScoringFunc, TopkMethod};
/// let cpu = Reference::<f64>::new();
/// let gate = GateConfig {
///     n_routed_experts: 3,
///     num_experts_per_tok: 2,
///     scoring_func: ScoringFunc::Sigmoid,
///     topk_method: TopkMethod::Greedy,
///     norm_topk_prob: true,
///     routed_scaling_factor: 1.0,
/// };
/// let routing = cpu.route(&cpu.upload(&[0.0, -9.0, 0.0], &[1, 3])?, None, &gate)?;
/// let (experts, weights) = routing.token(0);
/// assert_eq!((experts, weights), (&[0, 2][..], &[0.5, 0.5][..]));
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
pub trait Experts: Backend {
    /// The choice of a gate, on this backend.
    type Routing: Clone + Debug + Send + Sync;
    /// The weights of all routed experts of a layer, packed as this backend likes.
    type ExpertStack: Debug + Send + Sync;

    /// Chooses and weighs experts: see [`gate`](crate::gate).
    ///
    /// # Errors
    /// Those of [`gate::check`](crate::gate::check) and [`gate::scores`](crate::gate::scores), and
    /// [`MoeError::Bias`] when a bias is not finite. A backend that routes on a device may report
    /// an error in the values as late as in [`host_routing`](Self::host_routing).
    fn route(
        &self,
        logits: &Self::Tensor,
        bias: Option<&Self::Tensor>,
        gate: &GateConfig,
    ) -> Result<Self::Routing, MoeError>;

    /// Copies a routing back.
    ///
    /// # Errors
    /// What [`route`](Self::route) left unreported.
    fn host_routing(&self, routing: &Self::Routing) -> Result<Routing, MoeError>;

    /// Takes over the weights of `experts` experts, which `get` returns one by one in ascending
    /// order, all of the same shape.
    ///
    /// # Errors
    /// What `get` returns, and [`MoeError`] when the backend refuses a weight.
    fn expert_stack<E: From<MoeError>>(
        &self,
        experts: usize,
        get: impl FnMut(usize) -> Result<MlpWeights, E>,
    ) -> Result<Self::ExpertStack, E>;

    /// The row of `x` for each choice, sorted by expert: see [`dispatch`](crate::dispatch).
    ///
    /// # Errors
    /// [`MoeError::Kernel`] when `x` is not `[token, dim]`.
    fn dispatch(&self, x: &Self::Tensor, routing: &Self::Routing)
    -> Result<Self::Tensor, MoeError>;

    /// Sends each dispatched row `[row, hidden]` through its expert.
    ///
    /// The weights of an expert that no token chose are not touched.
    ///
    /// # Errors
    /// [`MoeError`] when the rows or the routing do not fit the experts.
    fn run_experts(
        &self,
        experts: &Self::ExpertStack,
        rows: &Self::Tensor,
        routing: &Self::Routing,
    ) -> Result<Self::Tensor, MoeError>;

    /// Each token's weighted sum of its rows: see [`dispatch`](crate::dispatch).
    ///
    /// # Errors
    /// [`MoeError::Kernel`] when `rows` does not have a row for each choice.
    fn combine(
        &self,
        rows: &Self::Tensor,
        routing: &Self::Routing,
    ) -> Result<Self::Tensor, MoeError>;

    /// The routed part of a layer, `[token, hidden]`: dispatch, experts, combine.
    ///
    /// A backend that fuses the three replaces this.
    ///
    /// # Errors
    /// Those of the three.
    fn routed(
        &self,
        experts: &Self::ExpertStack,
        x: &Self::Tensor,
        routing: &Self::Routing,
    ) -> Result<Self::Tensor, MoeError> {
        let rows = self.dispatch(x, routing)?;
        self.combine(&self.run_experts(experts, &rows, routing)?, routing)
    }

    /// [`routed`](Self::routed), with the shared experts' result for each token added to it.
    ///
    /// A backend that gains from doing both together replaces this.
    ///
    /// # Errors
    /// Those of both.
    fn routed_and_shared(
        &self,
        experts: &Self::ExpertStack,
        shared: &Mlp<Self>,
        x: &Self::Tensor,
        routing: &Self::Routing,
    ) -> Result<Self::Tensor, MoeError> {
        let routed = self.routed(experts, x, routing)?;
        Ok(self.add(&routed, &shared.forward(self, x)?)?)
    }
}
