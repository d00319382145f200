//! Which experts each token is sent to, and with what weight, on the host.

use crate::MoeError;

#[cfg(feature = "gpu")]
pub(crate) mod gpu;

/// The choice of a gate: for each token the same number of experts, **in ascending expert id**,
/// and a weight for each.
///
/// Weights are held as `f64`, which keeps an `f32` weight exactly.
///
/// ```
/// use latent_moe::Routing;
/// let routing = Routing::new(4, 2, vec![0, 3, 1, 2], vec![0.75, 0.25, 0.5, 0.5])?;
/// assert_eq!(routing.tokens(), 2);
/// assert_eq!(routing.token(1), (&[1, 2][..], &[0.5, 0.5][..]));
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    n_routed_experts: usize,
    num_experts_per_tok: usize,
    experts: Vec<usize>,
    weights: Vec<f64>,
}

impl Routing {
    /// A routing from its choices, token by token.
    ///
    /// # Shapes
    /// - `experts`: `[token, num_experts_per_tok]`, each row ascending and below
    ///   `n_routed_experts`
    /// - `weights`: the same
    ///
    /// # Errors
    /// [`MoeError::Routing`] when `num_experts_per_tok` is 0, the lengths do not fit, or a row is
    /// not strictly ascending or leaves the experts.
    pub fn new(
        n_routed_experts: usize,
        num_experts_per_tok: usize,
        experts: Vec<usize>,
        weights: Vec<f64>,
    ) -> Result<Self, MoeError> {
        if num_experts_per_tok == 0 {
            return Err(MoeError::routing("num_experts_per_tok", 0, "at least 1"));
        }
        if !experts.len().is_multiple_of(num_experts_per_tok) {
            let wanted = format!("a multiple of num_experts_per_tok {num_experts_per_tok}");
            return Err(MoeError::routing("number of experts", experts.len(), wanted));
        }
        if weights.len() != experts.len() {
            let wanted = format!("one for each of {} experts", experts.len());
            return Err(MoeError::routing("number of weights", weights.len(), wanted));
        }
        for (token, row) in experts.chunks_exact(num_experts_per_tok).enumerate() {
            let below = row.last().is_none_or(|&last| last < n_routed_experts);
            if !(row.is_sorted_by(|a, b| a < b) && below) {
                let wanted = format!("ascending ids below {n_routed_experts} at token {token}");
                return Err(MoeError::routing("experts", format!("{row:?}"), wanted));
            }
        }
        Ok(Self { n_routed_experts, num_experts_per_tok, experts, weights })
    }

    /// The number of tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.experts.len() / self.num_experts_per_tok
    }

    /// The number of experts to choose from.
    #[must_use]
    pub fn n_routed_experts(&self) -> usize {
        self.n_routed_experts
    }

    /// The number of experts that each token is sent to.
    #[must_use]
    pub fn num_experts_per_tok(&self) -> usize {
        self.num_experts_per_tok
    }

    /// The chosen experts, `[token, num_experts_per_tok]`, ascending for each token.
    #[must_use]
    pub fn experts(&self) -> &[usize] {
        &self.experts
    }

    /// Their weights, `[token, num_experts_per_tok]`.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The experts and weights of one token.
    ///
    /// # Panics
    /// When `token` is not below [`tokens`](Self::tokens).
    #[must_use]
    pub fn token(&self, token: usize) -> (&[usize], &[f64]) {
        let row = token * self.num_experts_per_tok..(token + 1) * self.num_experts_per_tok;
        (&self.experts[row.clone()], &self.weights[row])
    }
}
