//! Looking inside of a forward pass.

use latent_kernels::Backend;
use latent_moe::Experts;

use crate::ModelError;

/// What a forward pass shows while it runs. `()` looks away.
///
/// Each method gets what one layer made for all tokens of the batch, still on the backend; an error
/// stops the pass and leaves the cache as it was.
#[expect(clippy::missing_errors_doc, reason = "the observer decides what its errors are")]
pub trait Observer<B: Backend + Experts> {
    /// The residual stream `[token, hidden]`: of index 0 the embeddings, of index `i + 1` what
    /// layer `i` leaves.
    fn hidden(&mut self, index: usize, x: &B::Tensor) -> Result<(), ModelError> {
        let _ = (index, x);
        Ok(())
    }

    /// What the gate of `layer` chose.
    fn routing(&mut self, layer: usize, routing: &B::Routing) -> Result<(), ModelError> {
        let _ = (layer, routing);
        Ok(())
    }
}

impl<B: Backend + Experts> Observer<B> for () {}
