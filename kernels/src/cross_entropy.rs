//! Cross-entropy: how badly each row of logits predicts its target, `ln Σ_j exp(x_j) - x_target`,
//! and the gradient of that times a scale of the row's own, `scale (softmax(x) - [target])`.
//!
//! # Shapes
//! - `logits`: `[token, vocab]`
//! - `targets`: `[token]`, each below `vocab`
//! - `scales`: `[token]`, of any sign; 0 makes a row of zeros
//! - returns the loss of each token, unscaled, in nats; and `[token, vocab]`
//!
//! A logit of `-∞` has the probability 0; as a target its loss is `∞`, with a finite gradient. A NaN, a
//! `+∞` or nothing but `-∞` makes the loss NaN. Logits of a whole batch need not be held at once: the
//! loss is a sum over rows, so a caller takes them in chunks.
//!
//! ```
//! use latent_kernels::{Backend, Backward, Reference};
//! let cpu = Reference::<f64>::new();
//! let logits = cpu.upload(&[0.0, 0.0], &[1, 2])?;
//! let (losses, gradient) = cpu.cross_entropy(&logits, &[1], &[1.0])?;
//! assert_eq!(losses, [2.0_f64.ln()]);
//! assert_eq!(cpu.download(&gradient)?, [0.5, -0.5]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::{KernelError, gather};

pub(crate) mod cpu;
pub(crate) mod reference;

/// Proves the arguments and returns the size of the vocabulary.
///
/// # Errors
/// [`KernelError::Shape`] when `logits` does not have a row for each target or there is not a scale for
/// each, [`KernelError::Index`] with the first target that is not in the vocabulary.
pub fn check(logits: &[usize], targets: &[u32], scales: &[f64]) -> Result<usize, KernelError> {
    KernelError::check_shape("cross_entropy: scales", &[scales.len()], &[targets.len()])?;
    match *logits {
        [tokens, vocab] if tokens == targets.len() => {
            gather::check_ids("cross_entropy: targets", vocab, targets)?;
            Ok(vocab)
        }
        _ => {
            let wanted = format!("want [{}, vocab]", targets.len());
            Err(KernelError::shape("cross_entropy: logits", logits, wanted))
        }
    }
}
