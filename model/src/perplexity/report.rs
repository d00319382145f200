//! What the scores of a text say.

/// What a model made of one token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenScore {
    /// Where the token stands in the text, from 0.
    pub position: usize,
    /// `-ln p` of it, in nats.
    pub nll: f64,
}

/// How well a model predicts a text. Without a score, its mean is NaN.
///
/// ```
/// use latent_model::perplexity::{Perplexity, TokenScore};
///
/// // A coin, and a die of 8: as uncertain as a choice among 4.
/// let nll = [2_f64.ln(), 8_f64.ln()];
/// let scores = nll.into_iter().enumerate().map(|(position, nll)| TokenScore { position, nll });
/// let found = Perplexity { scores: scores.collect(), windows: 1 };
/// assert!((found.perplexity() - 4.0).abs() < 1e-12);
/// assert!((found.bits_per_byte(2) - 2.0).abs() < 1e-12);
/// assert!((found.standard_error().unwrap() - 2_f64.ln()).abs() < 1e-12);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Perplexity {
    /// `[token]`: of each token that is scored, in the order of the text.
    pub scores: Vec<TokenScore>,
    /// The windows that the text was cut into.
    pub windows: usize,
}

impl Perplexity {
    /// The mean of `-ln p` over all scored tokens, in nats.
    #[must_use]
    pub fn mean_nll(&self) -> f64 {
        self.total() / self.scores.len() as f64
    }

    /// The standard error of [`mean_nll`](Self::mean_nll), as if tokens were independent: their
    /// standard deviation over the root of their number. `None` of a single token.
    #[must_use]
    pub fn standard_error(&self) -> Option<f64> {
        let (mean, n) = (self.mean_nll(), self.scores.len() as f64);
        let squares: f64 = self.scores.iter().map(|score| (score.nll - mean).powi(2)).sum();
        (self.scores.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())
    }

    /// `exp` of [`mean_nll`](Self::mean_nll): the number of equally likely tokens among which a
    /// choice would be as uncertain.
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        self.mean_nll().exp()
    }

    /// What the scored tokens take in bits, over the `bytes` of text that they stand for: it
    /// compares models with different tokens.
    #[must_use]
    pub fn bits_per_byte(&self, bytes: usize) -> f64 {
        self.total() / std::f64::consts::LN_2 / bytes as f64
    }

    fn total(&self) -> f64 {
        self.scores.iter().map(|score| score.nll).sum()
    }
}
