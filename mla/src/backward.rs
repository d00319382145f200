//! The gradients of attention: what a backend must be able to do to train this crate's layers.

use latent_kernels::{Backward, KernelError};

use crate::attend::{check_attend, check_expanded};
use crate::{Attend, LatentDims, RowLayout, Span};

mod cpu;
mod reference;

/// A backend with the gradients of [`Attend`]'s operations.
///
/// Sequences are whole: each span begins at position 0, so that the rows which its tokens see are those
/// of the batch, and a gradient by rows has one for each token. Sums over tokens, heads and keys run in
/// an order that depends on the spans alone.
///
/// [`Reference`](latent_kernels::Reference) is the definition; it computes the weights of attention
/// again from queries and rows.
///
/// Every operation returns [`KernelError`] when its arguments do not fit together.
#[expect(clippy::missing_errors_doc, reason = "all share the errors named in the trait's text")]
pub trait AttendBackward: Attend + Backward {
    /// The gradients of [`attend`](Attend::attend) by queries and rows. With the weights `p` and their
    /// gradient `dp_j = do · v_j`: `ds = p (dp - Σ p dp) scale`, `dq = Σ_j ds_j k_j`,
    /// `dk_j = Σ ds_j q`, `dv_j = Σ p_j do`.
    ///
    /// # Shapes
    /// - `q`: `[token, head, key_dim]`, `d_o`: `[token, head, value_dim]`
    /// - returns `dq` as `q`, and `[token, width]`: what was not read of a row has the gradient 0
    fn attend_backward(
        &self,
        q: &Self::Tensor,
        pages: &Self::Pages,
        spans: &[Span],
        layout: RowLayout,
        scale: f64,
        d_o: &Self::Tensor,
    ) -> Result<(Self::Tensor, Self::Tensor), KernelError>;

    /// The gradients of [`attend_expanded`](Attend::attend_expanded) by queries, rows and `kv_b`.
    ///
    /// # Shapes
    /// - `d_o`: `[token, head, v_head_dim]`
    /// - returns `dq` as `q`, `[token, kv_lora_rank + qk_rope_head_dim]`, and the shape of `kv_b`
    #[expect(clippy::too_many_arguments, reason = "those of the operation, and the gradient")]
    fn attend_expanded_backward(
        &self,
        q: &Self::Tensor,
        pages: &Self::Pages,
        spans: &[Span],
        kv_b: &Self::KvB,
        dims: LatentDims,
        scale: f64,
        d_o: &Self::Tensor,
    ) -> Result<[Self::Tensor; 3], KernelError>;

    /// The gradients of [`absorbed_query`](Attend::absorbed_query) by queries and `kv_b`.
    ///
    /// # Shapes
    /// - `q`: `[token, head, qk_nope_head_dim + qk_rope_head_dim]`
    /// - `d_absorbed`: `[token, head, kv_lora_rank + qk_rope_head_dim]`
    /// - returns `dq` as `q`, and the shape of `kv_b`, 0 in the rows of values
    fn absorbed_query_backward(
        &self,
        q: &Self::Tensor,
        kv_b: &Self::KvB,
        dims: LatentDims,
        d_absorbed: &Self::Tensor,
    ) -> Result<(Self::Tensor, Self::Tensor), KernelError>;

    /// The gradients of [`expand_values`](Attend::expand_values) by latents and `kv_b`.
    ///
    /// # Shapes
    /// - `o_latent`: `[token, head, kv_lora_rank]`, `d_o`: `[token, head, v_head_dim]`
    /// - returns the shape of `o_latent`, and that of `kv_b`, 0 in the rows of keys
    fn expand_values_backward(
        &self,
        o_latent: &Self::Tensor,
        kv_b: &Self::KvB,
        dims: LatentDims,
        d_o: &Self::Tensor,
    ) -> Result<(Self::Tensor, Self::Tensor), KernelError>;
}

/// Proves the arguments of [`AttendBackward::attend_backward`] for rows of `width` elements.
///
/// # Errors
/// [`KernelError::Shape`] as in [`check_attend`], where a span does not begin its sequence, and where
/// the gradient does not have the shape of the result.
pub fn check_attend_backward(
    q: &[usize],
    width: usize,
    spans: &[Span],
    layout: RowLayout,
    d_o: &[usize],
) -> Result<(), KernelError> {
    check_attend(q, width, spans, layout)?;
    check_whole(spans)?;
    KernelError::check_shape("attend: d_o", d_o, &[q[0], q[1], layout.value_dim])
}

/// Proves the arguments of [`AttendBackward::attend_expanded_backward`] for rows of `width` elements.
///
/// # Errors
/// [`KernelError::Shape`] as in [`check_expanded`], where a span does not begin its sequence, and where
/// the gradient does not have the shape of the result.
pub fn check_expanded_backward(
    q: &[usize],
    width: usize,
    spans: &[Span],
    kv_b: [usize; 2],
    dims: LatentDims,
    d_o: &[usize],
) -> Result<(), KernelError> {
    check_expanded(q, width, spans, kv_b, dims)?;
    check_whole(spans)?;
    KernelError::check_shape("attend: d_o", d_o, &[q[0], q[1], dims.v_head_dim])
}

fn check_whole(spans: &[Span]) -> Result<(), KernelError> {
    match spans.iter().find(|span| span.start > 0) {
        Some(span) => {
            let found = [span.start];
            Err(KernelError::shape("attend: start of a span", &found, "gradients want 0"))
        }
        None => Ok(()),
    }
}
