//! A [`Routing`] on a device.

use latent_kernels::gpu::{Buffer, Gpu, GpuTensor};
use latent_kernels::{Backend, Tensor};

use crate::dispatch::gpu::sort::Order;
use crate::gate::{check_bias, scores};
use crate::{MoeError, Routing, ScoringFunc};

/// The choice of a gate on a device, and where each choice lies when rows are sorted by expert.
///
/// A token that cannot be routed (NaN or `+∞` among its logits, nothing but `-∞` under a softmax, a
/// bias that is not finite) is sent to experts that exist, with weights of NaN: what is computed
/// from them is NaN, and [`host_routing`](crate::Experts::host_routing) tells the cause.
#[derive(Debug, Clone)]
pub struct GpuRouting {
    pub(crate) n_routed_experts: usize,
    pub(crate) num_experts_per_tok: usize,
    pub(crate) scoring_func: ScoringFunc,
    pub(crate) logits: GpuTensor,       // [token, n_routed_experts]
    pub(crate) bias: Option<GpuTensor>, // [n_routed_experts]
    pub(crate) experts: Buffer,         // [token, num_experts_per_tok]
    pub(crate) weights: GpuTensor,      // [token, num_experts_per_tok]
    pub(crate) order: Order,
}

impl GpuRouting {
    /// The number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.logits.shape()[0]
    }

    /// The number of rows that the experts see: one for each choice.
    #[must_use]
    pub fn choices(&self) -> usize {
        self.tokens() * self.num_experts_per_tok
    }

    /// The most experts that the choices can hit.
    #[must_use]
    pub fn most_hit(&self) -> usize {
        self.n_routed_experts.min(self.choices())
    }

    /// The chosen experts, `[token, num_experts_per_tok]` words, ascending for each token.
    #[must_use]
    pub fn experts(&self) -> &Buffer {
        &self.experts
    }

    /// The weights of the choices, `[token, num_experts_per_tok]`.
    #[must_use]
    pub fn weights(&self) -> &GpuTensor {
        &self.weights
    }

    /// The first row of each expert, and the number of rows: `[expert + 1]` words.
    #[must_use]
    pub fn offsets(&self) -> &Buffer {
        &self.order.offsets
    }

    /// The choice that each row belongs to, `[row]` words: `token * num_experts_per_tok + i`.
    #[must_use]
    pub fn choices_of_rows(&self) -> &Buffer {
        &self.order.choices
    }

    /// The row of each choice, `[token, num_experts_per_tok]` words.
    #[must_use]
    pub fn rows_of_choices(&self) -> &Buffer {
        &self.order.rows
    }

    pub(crate) fn to_host(&self, gpu: &Gpu) -> Result<Routing, MoeError> {
        let weights: Vec<f64> = gpu.download(&self.weights)?.into_iter().map(f64::from).collect();
        if weights.is_empty() || weights.iter().any(|w| w.is_nan()) {
            self.find_fault(gpu)?;
        }
        let experts = gpu.read_words(&self.experts)?.into_iter().map(|e| e as usize).collect();
        Routing::new(self.n_routed_experts, self.num_experts_per_tok, experts, weights)
    }

    /// Looks for what the kernel stumbled over in the numbers that it was given.
    fn find_fault(&self, gpu: &Gpu) -> Result<(), MoeError> {
        if let Some(bias) = &self.bias {
            check_bias(&gpu.download(bias)?)?;
        }
        scores(&gpu.download(&self.logits)?, self.n_routed_experts, self.scoring_func)?;
        Ok(())
    }
}
