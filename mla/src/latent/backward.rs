//! The gradients of a layer of latent attention.

use latent_kernels::{Gradients, KernelError, Tensor};

use super::{LatentAttention, Projected, Query};
use crate::{AttendBackward, Form, LATENT_NORM_EPS, MlaError, PagedCache, Step, Written};

/// What a layer of latent attention keeps of a forward pass for its gradients: the results of its
/// products.
#[derive(Debug)]
pub struct SavedLatent<B: AttendBackward> {
    projected: Projected<B>,
    o_latent: Option<B::Tensor>, // [token, head, kv_lora_rank], in the absorbed form
    o: B::Tensor,                // [token, head * v_head_dim]
}

impl<B: AttendBackward> SavedLatent<B> {
    /// The elements that are kept.
    pub fn elements(&self) -> usize {
        let Projected { c_q, q, kv_a } = &self.projected;
        let optional = [c_q, &self.o_latent].into_iter().flatten();
        optional.chain([kv_a, q, &self.o]).map(Tensor::elements).sum()
    }
}

impl<B: AttendBackward> LatentAttention<B> {
    /// [`forward`](Self::forward) in a fixed form, with what [`backward`](Self::backward) needs.
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
        form: Form,
    ) -> Result<(B::Tensor, SavedLatent<B>), MlaError> {
        cache.check(step, layer, &self.config)?;
        let projected = self.projected(backend, x, step)?;
        let Projected { q, kv_a, .. } = &projected;
        cache.write_latents(step, layer, kv_a, &self.kv_a_layernorm, &self.rope)?;
        let (pages, spans) = (cache.pages(layer)?, step.spans());
        let (o, o_latent) = match form {
            Form::Expanded => (self.attend_expanded(backend, q, pages, spans)?, None),
            Form::Absorbed => {
                let (o, o_latent) = self.attend_absorbed(backend, q, pages, spans)?;
                (o, Some(o_latent))
            }
            Form::Auto => {
                return Err(MlaError::config("form", "auto", "expanded or absorbed for gradients"));
            }
        };
        let o = self.joined(backend, o)?;
        let y = backend.linear(&o, &self.o_proj)?;
        Ok((y, SavedLatent { projected, o_latent, o }))
    }

    /// The gradients by `x` and by the weights: see [`Attention::backward`](crate::Attention::backward).
    ///
    /// # Errors
    /// As there.
    pub fn backward(
        &self,
        backend: &B,
        x: &B::Tensor,
        saved: &SavedLatent<B>,
        written: Written<'_, B>,
        dy: &B::Tensor,
    ) -> Result<(B::Tensor, Gradients<B::Tensor>), MlaError> {
        let step = written.step;
        written.cache.check(step, written.layer, &self.config)?;
        let mut gradients = Gradients::default();
        gradients.push("o_proj.weight", backend.linear_grad_weight(&saved.o, dy, &self.o_proj)?);
        let d_o = backend.linear_grad_input(dy, &self.o_proj)?;
        let heads = [step.tokens(), self.sizes.num_attention_heads, self.sizes.v_head_dim];
        let d_o = backend.reshape(d_o, &heads)?;
        let pages = written.cache.pages(written.layer)?;
        let [dq, d_rows, d_kv_b] = self.attend_backward(backend, saved, pages, step, &d_o)?;
        gradients.push("kv_b_proj.weight", d_kv_b);

        let (d_kv_a, d_gain) =
            self.latents_backward(backend, &saved.projected.kv_a, &d_rows, step)?;
        gradients.push("kv_a_layernorm.weight", d_gain);
        let d_weight = backend.linear_grad_weight(x, &d_kv_a, &self.kv_a_proj_with_mqa)?;
        gradients.push("kv_a_proj_with_mqa.weight", d_weight);
        let from_kv_a = backend.linear_grad_input(&d_kv_a, &self.kv_a_proj_with_mqa)?;

        let from_q = self.query_backward(backend, x, saved, dq, step, &mut gradients)?;
        Ok((backend.add(&from_q, &from_kv_a)?, gradients))
    }

    /// The gradients of attention by its queries, by the cached rows, and by `kv_b`.
    fn attend_backward(
        &self,
        backend: &B,
        saved: &SavedLatent<B>,
        pages: &B::Pages,
        step: &Step,
        d_o: &B::Tensor,
    ) -> Result<[B::Tensor; 3], KernelError> {
        let (kv_b, dims, scale) = (&self.kv_b_proj, self.sizes.dims(), self.sizes.softmax_scale());
        let (q, spans) = (&saved.projected.q, step.spans());
        let Some(o_latent) = &saved.o_latent else {
            return backend.attend_expanded_backward(q, pages, spans, kv_b, dims, scale, d_o);
        };
        let (d_latent, from_values) = backend.expand_values_backward(o_latent, kv_b, dims, d_o)?;
        let absorbed = backend.absorbed_query(q, kv_b, dims)?;
        let layout = dims.absorbed_layout();
        let (d_absorbed, d_rows) =
            backend.attend_backward(&absorbed, pages, spans, layout, scale, &d_latent)?;
        let (dq, from_keys) = backend.absorbed_query_backward(q, kv_b, dims, &d_absorbed)?;
        Ok([dq, d_rows, backend.add(&from_keys, &from_values)?])
    }

    /// The gradients by `kv_a`, before norm and rotation, and by the gain of the norm.
    fn latents_backward(
        &self,
        backend: &B,
        kv_a: &B::Tensor,
        d_rows: &B::Tensor,
        step: &Step,
    ) -> Result<(B::Tensor, B::Tensor), KernelError> {
        let rank = self.sizes.kv_lora_rank;
        let (c_kv, _) = backend.split_columns(kv_a, rank)?;
        let (d_c_kv, d_k_rope) = backend.split_columns(d_rows, rank)?;
        let (d_c_kv, d_gain) =
            backend.rms_norm_backward(&c_kv, &self.kv_a_layernorm, LATENT_NORM_EPS, &d_c_kv)?;
        let flat = [step.tokens(), self.sizes.qk_rope_head_dim];
        let d_k_rope = backend.reshape(d_k_rope, &[flat[0], 1, flat[1]])?;
        let d_k_rope = backend.rope_backward(&d_k_rope, &self.rope, step.positions())?;
        let d_k_rope = backend.reshape(d_k_rope, &flat)?;
        Ok((backend.join_columns(&d_c_kv, &d_k_rope)?, d_gain))
    }

    /// The gradient by `x` through the query, and those of the query's weights.
    fn query_backward(
        &self,
        backend: &B,
        x: &B::Tensor,
        saved: &SavedLatent<B>,
        dq: B::Tensor,
        step: &Step,
        gradients: &mut Gradients<B::Tensor>,
    ) -> Result<B::Tensor, KernelError> {
        let dq = backend.rope_backward(&dq, &self.rope, step.positions())?;
        let width = self.sizes.num_attention_heads * self.sizes.qk_head_dim();
        let dq = backend.reshape(dq, &[step.tokens(), width])?;
        match (&self.query, &saved.projected.c_q) {
            (Query::Compressed { q_a_proj, q_a_layernorm, q_b_proj }, Some(c_q)) => {
                let normed = backend.rms_norm(c_q, q_a_layernorm, LATENT_NORM_EPS)?;
                gradients
                    .push("q_b_proj.weight", backend.linear_grad_weight(&normed, &dq, q_b_proj)?);
                let d_normed = backend.linear_grad_input(&dq, q_b_proj)?;
                let (d_c_q, d_gain) =
                    backend.rms_norm_backward(c_q, q_a_layernorm, LATENT_NORM_EPS, &d_normed)?;
                gradients.push("q_a_layernorm.weight", d_gain);
                gradients.push("q_a_proj.weight", backend.linear_grad_weight(x, &d_c_q, q_a_proj)?);
                backend.linear_grad_input(&d_c_q, q_a_proj)
            }
            (Query::Compressed { q_b_proj: q_proj, .. } | Query::Plain { q_proj }, _) => {
                gradients.push("q_proj.weight", backend.linear_grad_weight(x, &dq, q_proj)?);
                backend.linear_grad_input(&dq, q_proj)
            }
        }
    }
}
