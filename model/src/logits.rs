//! The logits of many rows on the host, some at a time.

use latent_mla::Attend;
use latent_moe::Experts;

use crate::{Model, ModelError};

/// The rows whose logits are computed at once: 66 MB of them for a vocabulary of 129,280. All at
/// once may be more than a device holds in one buffer.
const LOGIT_ROWS: usize = 128;

/// Shows `see` the logits of the first `rows` rows of `hidden`, in order: `[some rows, vocab]` at a
/// time.
pub(crate) fn in_parts<B: Attend + Experts>(
    model: &Model<B>,
    hidden: &B::Tensor,
    rows: usize,
    see: &mut dyn FnMut(Vec<B::Scalar>) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let backend = model.backend();
    for first in (0..rows).step_by(LOGIT_ROWS) {
        let some: Vec<usize> = (first..rows.min(first + LOGIT_ROWS)).collect();
        let some = backend.select_rows(hidden, &some)?;
        see(backend.download(&model.logits(&some)?)?)?;
    }
    Ok(())
}
