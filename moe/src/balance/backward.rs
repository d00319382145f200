//! The losses on a router that a training step adds, and their gradients.

use super::{coefficient, seq_aux_loss, sequence_loss, z_loss};
use crate::gate::backward::scores_backward;
use crate::gate::scores;
use crate::{MoeError, Routing, ScoringFunc};

/// Which losses on a router are added to that of the predictions, by their coefficients: 0 leaves one
/// out.
///
/// How often an expert was chosen counts as given; gradients go through the scores.
///
/// ```
/// use latent_moe::{Routing, ScoringFunc, balance::BalanceLosses};
/// // Two tokens, both sent to expert 0: f = [2, 0], P = [0.5, 0.5].
/// let routing = Routing::new(2, 1, vec![0, 0], vec![1.0; 2])?;
/// let losses = BalanceLosses { seq_aux: 1.0, ..BalanceLosses::default() };
/// let (loss, d_logits) = losses.of(&[0.0; 4], &routing, &[2], ScoringFunc::Sigmoid)?;
/// assert_eq!(loss, 1.0);
/// assert_eq!(d_logits, [0.25, 0.0, 0.25, 0.0]); // f / T times the slope of the sigmoid
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BalanceLosses {
    /// Of [`seq_aux_loss`]: V2's `aux_loss_alpha`.
    pub seq_aux: f64,
    /// Of [`sequence_loss`]: V3's, published as 1e-4.
    pub sequence: f64,
    /// Of [`z_loss`]: published as 1e-3.
    pub z: f64,
}

impl BalanceLosses {
    /// Whether all are left out.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Their sum for the tokens of a routing, and its gradient by the logits, `[token, expert]`.
    ///
    /// # Shapes
    /// - `logits`: `[token, expert]`, row by row, before any scoring
    /// - `lengths`: the tokens of each sequence, one after the other
    ///
    /// # Errors
    /// Those of [`sequence_loss`] and [`z_loss`].
    pub fn of(
        &self,
        logits: &[f64],
        routing: &Routing,
        lengths: &[usize],
        scoring_func: ScoringFunc,
    ) -> Result<(f64, Vec<f64>), MoeError> {
        let experts = routing.n_routed_experts();
        let s = scores(logits, experts, scoring_func)?;
        let loss = seq_aux_loss(&s, routing, lengths, self.seq_aux)?
            + sequence_loss(&s, routing, lengths, self.sequence)?;
        let mut d = self.by_scores(&s, routing, lengths);
        scores_backward(logits, &s, experts, scoring_func, &mut d);

        coefficient("z", self.z)?;
        let z = if self.z > 0.0 { self.z * z_loss(logits, experts)? } else { 0.0 };
        if self.z > 0.0 {
            let tokens = routing.tokens() as f64;
            let each = logits.chunks_exact(experts).zip(d.chunks_exact_mut(experts));
            each.for_each(|(row, d)| add_z(row, self.z / tokens, d));
        }
        Ok((loss + z, d))
    }

    /// The gradient of both sequence-wise losses by the scores.
    fn by_scores(&self, s: &[f64], routing: &Routing, lengths: &[usize]) -> Vec<f64> {
        let (n, k) = (routing.n_routed_experts(), routing.num_experts_per_tok());
        let sequences = lengths.iter().filter(|&&l| l > 0).count() as f64;
        let mut d = vec![0.0; s.len()];
        let mut start = 0;
        for &length in lengths.iter().filter(|&&l| l > 0) {
            // How often each expert was chosen, where 1 is even, over the tokens of the sequence.
            let mut often = vec![0.0; n];
            let one = n as f64 / (k * length) as f64 / length as f64;
            for token in start..start + length {
                for &expert in routing.token(token).0 {
                    often[expert] += one;
                }
            }
            for token in start..start + length {
                let row = token * n..(token + 1) * n;
                let (s, d) = (&s[row.clone()], &mut d[row]);
                let sum: f64 = s.iter().sum();
                let mean = s.iter().zip(&often).map(|(s, f)| s * f).sum::<f64>() / sum;
                for (d, f) in d.iter_mut().zip(&often) {
                    *d = self.seq_aux / sequences * f;
                    // A token without scores takes no part.
                    if sum > 0.0 {
                        *d += self.sequence / sequences * (f - mean) / sum;
                    }
                }
            }
            start += length;
        }
        d
    }
}

/// Adds the gradient of `factor (ln Σ exp(x))²`.
fn add_z(row: &[f64], factor: f64, d: &mut [f64]) {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
    for (d, x) in d.iter_mut().zip(row) {
        *d += 2.0 * factor * (max + sum.ln()) * (x - max).exp() / sum;
    }
}
