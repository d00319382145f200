//! The seam between a training step and the machine it runs on.

use crate::{Backend, KernelError, RopeTable};

/// A backend that knows the gradients of its primitives.
///
/// Each method takes `dy = ∂L/∂y`, the gradient of a loss by the result of an operation, and returns
/// that by its arguments. [`Reference`](crate::Reference) is the definition, held to central
/// differences; other backends are held to it by [`backward_suite!`](crate::backward_suite!).
///
/// A gradient by activations has a row for each row of `dy`, and **depends on that row alone, bit for
/// bit**. A gradient by a weight is a sum over rows, in an order that depends on their number alone,
/// never on the number of threads.
///
/// Every operation returns [`KernelError::Shape`] when its arguments do not fit together.
///
/// ```
/// use latent_kernels::{Backend, Backward, Dtype, Reference, Weight};
/// let cpu = Reference::<f64>::new();
/// let w = cpu.matrix(Weight::encode(Dtype::F32, [1, 2], &[10.0_f32, 1.0])?)?;
/// let x = cpu.upload(&[1.0, 2.0], &[1, 2])?;
/// let dy = cpu.upload(&[3.0], &[1, 1])?;
/// assert_eq!(cpu.download(&cpu.linear_grad_input(&dy, &w)?)?, [30.0, 3.0]);
/// assert_eq!(cpu.download(&cpu.linear_grad_weight(&x, &dy, &w)?)?, [3.0, 6.0]);
/// # Ok::<(), latent_kernels::KernelError>(())
/// ```
#[expect(clippy::missing_errors_doc, reason = "all share the errors named in the trait's text")]
pub trait Backward: Backend {
    /// `dx = dy w` of `y = x wᵀ`: see [`linear::backward`](crate::linear::backward).
    fn linear_grad_input(
        &self,
        dy: &Self::Tensor,
        w: &Self::Matrix,
    ) -> Result<Self::Tensor, KernelError>;

    /// `dw = dyᵀ x` of `y = x wᵀ`, which says nothing of the values of `w`: see
    /// [`linear::backward`](crate::linear::backward).
    fn linear_grad_weight(
        &self,
        x: &Self::Tensor,
        dy: &Self::Tensor,
        w: &Self::Matrix,
    ) -> Result<Self::Tensor, KernelError>;

    /// `(dx, dgain)` of a norm: see [`rms_norm::backward`](crate::rms_norm::backward).
    fn rms_norm_backward(
        &self,
        x: &Self::Tensor,
        gain: &Self::Tensor,
        eps: f64,
        dy: &Self::Tensor,
    ) -> Result<(Self::Tensor, Self::Tensor), KernelError>;

    /// `dx` of a rotation: see [`rope::backward`](crate::rope::backward).
    fn rope_backward(
        &self,
        dy: &Self::Tensor,
        table: &RopeTable,
        positions: &[usize],
    ) -> Result<Self::Tensor, KernelError>;

    /// `(dgate, dup)` of a gate: see [`swiglu::backward`](crate::swiglu::backward).
    fn swiglu_backward(
        &self,
        gate: &Self::Tensor,
        up: &Self::Tensor,
        dy: &Self::Tensor,
    ) -> Result<(Self::Tensor, Self::Tensor), KernelError>;

    /// The gradient `[vocab, dim]` of an embedding: see [`gather::backward`](crate::gather::backward).
    fn gather_backward(
        &self,
        vocab: usize,
        ids: &[u32],
        dy: &Self::Tensor,
    ) -> Result<Self::Tensor, KernelError>;

    /// The loss of each row of logits, and its gradient times the row's own of `scales`: see
    /// [`cross_entropy`](crate::cross_entropy).
    fn cross_entropy(
        &self,
        logits: &Self::Tensor,
        targets: &[u32],
        scales: &[f64],
    ) -> Result<(Vec<f64>, Self::Tensor), KernelError>;
}

/// Named gradients on a backend, as a layer's backward pass leaves them.
///
/// ```
/// use latent_kernels::Gradients;
/// let mut of_layer = Gradients::default();
/// of_layer.push("o_proj.weight", 1);
/// let all: Vec<(String, i32)> = of_layer.under("self_attn.").into_iter().collect();
/// assert_eq!(all, [("self_attn.o_proj.weight".to_string(), 1)]);
/// ```
#[derive(Debug, Clone)]
pub struct Gradients<T>(Vec<(String, T)>);

impl<T> Default for Gradients<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Gradients<T> {
    /// Keeps the gradient of the weight called `name`.
    pub fn push(&mut self, name: impl Into<String>, gradient: T) {
        self.0.push((name.into(), gradient));
    }

    /// The same under longer names: `prefix` before each.
    #[must_use]
    pub fn under(self, prefix: &str) -> Self {
        Self(self.0.into_iter().map(|(name, g)| (format!("{prefix}{name}"), g)).collect())
    }
}

impl<T> IntoIterator for Gradients<T> {
    type Item = (String, T);
    type IntoIter = std::vec::IntoIter<(String, T)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T> Extend<(String, T)> for Gradients<T> {
    fn extend<I: IntoIterator<Item = (String, T)>>(&mut self, more: I) {
        self.0.extend(more);
    }
}
