//! The gradients of a layer of grouped attention.

use latent_kernels::{Gradients, Tensor};

use super::GroupedAttention;
use crate::{AttendBackward, MlaError, PagedCache, Step, Written};

/// What a layer of grouped attention keeps of a forward pass for its gradients.
#[derive(Debug)]
pub struct SavedGrouped<B: AttendBackward> {
    q: B::Tensor, // [token, head, head_dim], rotated
    o: B::Tensor, // [token, head * head_dim]
}

impl<B: AttendBackward> SavedGrouped<B> {
    /// The elements that are kept.
    pub fn elements(&self) -> usize {
        self.q.elements() + self.o.elements()
    }
}

impl<B: AttendBackward> GroupedAttention<B> {
    /// [`forward`](Self::forward), with what [`backward`](Self::backward) needs.
    ///
    /// # Errors
    /// As [`Attention::forward_saving`](crate::Attention::forward_saving).
    pub fn forward_saving(
        &self,
        backend: &B,
        x: &B::Tensor,
        cache: &mut PagedCache<B>,
        step: &Step,
        layer: usize,
    ) -> Result<(B::Tensor, SavedGrouped<B>), MlaError> {
        let (q, o) = self.attended(backend, x, cache, step, layer)?;
        Ok((backend.linear(&o, &self.o_proj)?, SavedGrouped { q, o }))
    }

    /// The gradients by `x` and by the weights: see [`Attention::backward`](crate::Attention::backward).
    ///
    /// # Errors
    /// As there.
    pub fn backward(
        &self,
        backend: &B,
        x: &B::Tensor,
        saved: &SavedGrouped<B>,
        written: Written<'_, B>,
        dy: &B::Tensor,
    ) -> Result<(B::Tensor, Gradients<B::Tensor>), MlaError> {
        let step = written.step;
        written.cache.check(step, written.layer, &self.config)?;
        let (tokens, positions) = (step.tokens(), step.positions());
        let (heads, groups, dim) =
            (self.sizes.num_attention_heads, self.sizes.num_key_value_heads, self.sizes.head_dim);
        let mut gradients = Gradients::default();
        gradients.push("o_proj.weight", backend.linear_grad_weight(&saved.o, dy, &self.o_proj)?);
        let d_o = backend.linear_grad_input(dy, &self.o_proj)?;
        let d_o = backend.reshape(d_o, &[tokens, heads, dim])?;
        let (layout, scale) = (self.layout(), self.sizes.softmax_scale());
        let pages = written.cache.pages(written.layer)?;
        let (dq, d_rows) =
            backend.attend_backward(&saved.q, pages, step.spans(), layout, scale, &d_o)?;
        let (dk, dv) = backend.split_columns(&d_rows, groups * dim)?;

        let unrotated = |d: B::Tensor, heads: usize| {
            let d = backend.reshape(d, &[tokens, heads, dim])?;
            let d = backend.rope_backward(&d, &self.rope, positions)?;
            backend.reshape(d, &[tokens, heads * dim])
        };
        let (dq, dk) = (unrotated(dq, heads)?, unrotated(dk, groups)?);
        gradients.push("q_proj.weight", backend.linear_grad_weight(x, &dq, &self.q_proj)?);
        gradients.push("k_proj.weight", backend.linear_grad_weight(x, &dk, &self.k_proj)?);
        gradients.push("v_proj.weight", backend.linear_grad_weight(x, &dv, &self.v_proj)?);
        let dx = backend.linear_grad_input(&dq, &self.q_proj)?;
        let dx = backend.add(&dx, &backend.linear_grad_input(&dk, &self.k_proj)?)?;
        let dx = backend.add(&dx, &backend.linear_grad_input(&dv, &self.v_proj)?)?;
        Ok((dx, gradients))
    }
}
