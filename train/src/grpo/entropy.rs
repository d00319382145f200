//! The entropy of the distributions that tokens are chosen from.

use latent_kernels::Scalar;

/// `H = -Σ p ln p` of the softmax of each row, in nats. Arithmetic is f64 whatever the logits are in; a
/// logit of `-∞` has no part.
///
/// # Shapes
/// - `logits`: `[token, vocab]`
/// - returns `[token]`
pub(super) fn entropies<T: Scalar>(logits: &[T], vocab: usize) -> impl Iterator<Item = f64> {
    logits.chunks_exact(vocab.max(1)).map(|row| {
        let max = row.iter().fold(f64::NEG_INFINITY, |max, x| max.max(x.as_f64()));
        let (mut sum, mut weighted) = (0.0, 0.0);
        for below in row.iter().map(|x| x.as_f64() - max).filter(|&x| x > f64::NEG_INFINITY) {
            sum += below.exp();
            weighted += below * below.exp();
        }
        // ln Σ exp(x) - Σ p x, by distances from the largest logit.
        sum.ln() - weighted / sum
    })
}
