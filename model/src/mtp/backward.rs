//! The gradients of a multi-token-prediction layer.

use latent_kernels::Gradients;
use latent_mla::{AttendBackward, Form, PagedCache, Step, Written};
use latent_moe::ExpertsBackward;
use latent_moe::balance::BalanceLosses;

use crate::block::{Balancing, LayerGradients, SavedBlock};
use crate::model::whole;
use crate::tensors::{EMBEDDING, layer_prefix};
use crate::{Model, ModelError};

/// What a multi-token-prediction layer keeps of a forward pass for its gradients.
#[derive(Debug)]
pub struct SavedMtp<B: AttendBackward + ExpertsBackward> {
    index: usize,
    cache: PagedCache<B>,
    step: Step,
    next: Vec<u32>,
    hidden: B::Tensor,   // what came in
    embedded: B::Tensor, // [token, hidden], before its norm
    joined: B::Tensor,   // [token, 2 hidden], both behind their norms
    x: B::Tensor,        // [token, hidden], into the block
    block: SavedBlock<B>,
    out: B::Tensor, // [token, hidden], out of it
}

impl<B: AttendBackward + ExpertsBackward> SavedMtp<B> {
    /// What the layer's gate chose, if it has one.
    pub fn routing(&self) -> Option<&B::Routing> {
        self.block.routing()
    }
}

impl<B: AttendBackward + ExpertsBackward> Model<B> {
    /// [`forward_mtp`](Self::forward_mtp) for whole sequences, bit for bit, with what
    /// [`backward_mtp`](Self::backward_mtp) needs.
    ///
    /// # Errors
    /// Those of [`forward_mtp`](Self::forward_mtp), and [`ModelError::Attention`] for
    /// [`Form::Auto`] with latent attention.
    pub fn forward_mtp_saving(
        &self,
        index: usize,
        hidden: &B::Tensor,
        next: &[&[u32]],
        form: Form,
    ) -> Result<(B::Tensor, SavedMtp<B>), ModelError> {
        let (mtp, backend, eps) = (self.mtp(index)?, self.backend(), self.config().rms_norm_eps);
        let (mut cache, step) = whole(next, |tokens| self.mtp_cache(tokens))?;
        let next = next.concat();
        let embedded = self.embed_ids(&next)?;
        let joined = mtp.joined(backend, &embedded, hidden, eps)?;
        let x = backend.linear(&joined, &mtp.eh_proj)?;
        let (out, block) = mtp.block.forward_saving(backend, &x, &mut cache, &step, 0, form)?;
        let y = backend.rms_norm(&out, &mtp.norm, eps)?;
        let hidden = hidden.clone();
        Ok((y, SavedMtp { index, cache, step, next, hidden, embedded, joined, x, block, out }))
    }

    /// The gradients by the hidden states that went into the layer and by all weights it used, the
    /// embedding among them, under their published names.
    ///
    /// # Shapes
    /// - `dy`: `[token, hidden]`, by what [`forward_mtp_saving`](Self::forward_mtp_saving) returned
    ///
    /// # Errors
    /// The error of the part that refused.
    pub fn backward_mtp(
        &self,
        saved: &SavedMtp<B>,
        dy: &B::Tensor,
        losses: &BalanceLosses,
        lengths: &[usize],
    ) -> Result<LayerGradients<B>, ModelError> {
        let (mtp, backend) = (self.mtp(saved.index)?, self.backend());
        let (eps, width) = (self.config().rms_norm_eps, self.config().hidden_size);
        let mut of_layer = Gradients::default();
        let (d_out, d_gain) = backend.rms_norm_backward(&saved.out, &mtp.norm, eps, dy)?;
        of_layer.push("shared_head.norm.weight", d_gain);
        let written = Written { cache: &saved.cache, step: &saved.step, layer: 0 };
        let balancing = Balancing { losses, lengths };
        let LayerGradients { dx, gradients: of_block, balance } =
            mtp.block.backward(backend, &saved.x, &saved.block, written, &d_out, balancing)?;
        of_layer.extend(of_block);
        let d_weight = backend.linear_grad_weight(&saved.joined, &dx, &mtp.eh_proj)?;
        of_layer.push("eh_proj.weight", d_weight);
        let d_joined = backend.linear_grad_input(&dx, &mtp.eh_proj)?;
        let (d_embedded, d_hidden) = backend.split_columns(&d_joined, width)?;
        let (d_embedded, d_gain) =
            backend.rms_norm_backward(&saved.embedded, &mtp.enorm, eps, &d_embedded)?;
        of_layer.push("enorm.weight", d_gain);
        let (d_hidden, d_gain) =
            backend.rms_norm_backward(&saved.hidden, &mtp.hnorm, eps, &d_hidden)?;
        of_layer.push("hnorm.weight", d_gain);

        let mut gradients =
            of_layer.under(&layer_prefix(self.config().num_hidden_layers + saved.index));
        let vocab = self.config().vocab_size;
        gradients.push(EMBEDDING, backend.gather_backward(vocab, &saved.next, &d_embedded)?);
        Ok(LayerGradients { dx: d_hidden, gradients, balance })
    }
}
