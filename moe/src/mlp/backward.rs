//! The gradients of the feed-forward block.

use latent_kernels::{Backend, Backward, Tensor};

use super::Mlp;
use crate::{MlpGradients, MoeError};

/// What a block keeps of a forward pass for its gradients.
#[derive(Debug)]
pub struct SavedMlp<B: Backend> {
    pub(crate) gate: B::Tensor, // [.., inner]
    pub(crate) up: B::Tensor,   // [.., inner]
}

impl<B: Backend> SavedMlp<B> {
    /// The elements that are kept.
    pub fn elements(&self) -> usize {
        self.gate.elements() + self.up.elements()
    }
}

impl<B: Backward> Mlp<B> {
    /// The gradients of a loss by `x` and by the weights, from `dy = ∂L/∂y`.
    ///
    /// # Shapes
    /// - `x`, `dy`: `[.., hidden]`, as `saved` of [`forward_saving`](Self::forward_saving) is of `x`
    /// - returns `dx` as `x`
    ///
    /// # Errors
    /// [`MoeError::Kernel`] when the shapes do not fit together.
    pub fn backward(
        &self,
        backend: &B,
        x: &B::Tensor,
        saved: &SavedMlp<B>,
        dy: &B::Tensor,
    ) -> Result<(B::Tensor, MlpGradients<B>), MoeError> {
        let SavedMlp { gate, up } = saved;
        let down_proj =
            backend.linear_grad_weight(&backend.swiglu(gate, up)?, dy, &self.down_proj)?;
        let d_inner = backend.linear_grad_input(dy, &self.down_proj)?;
        let (d_gate, d_up) = backend.swiglu_backward(gate, up, &d_inner)?;
        let gate_proj = backend.linear_grad_weight(x, &d_gate, &self.gate_proj)?;
        let up_proj = backend.linear_grad_weight(x, &d_up, &self.up_proj)?;
        let dx = backend.add(
            &backend.linear_grad_input(&d_gate, &self.gate_proj)?,
            &backend.linear_grad_input(&d_up, &self.up_proj)?,
        )?;
        Ok((dx, MlpGradients { gate_proj, up_proj, down_proj }))
    }
}
