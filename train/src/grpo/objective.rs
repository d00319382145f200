//! The objective over a batch, and its derivative by the log-probability of each token.

use super::term::{LogProbs, Term};
use super::{GrpoConfig, GrpoError, LossType, Metrics, Sampled, Whole};

/// The objective of a batch, summed up token by token as their log-probabilities become known.
///
/// ```text
/// loss = Σ_i Σ_t n_i ( beta k3 - min(r A_i, clip(r, 1 - epsilon, 1 + epsilon_high) A_i) )
/// r = exp(logp - old_logp)        k3 = exp(ref_logp - logp) - (ref_logp - logp) - 1
/// ```
///
/// `n_i` is what a token of completion `i` counts: see [`LossType`]. A masked completion counts nothing,
/// but is one of the completions that [`LossType::Grpo`] and [`LossType::DrGrpo`] divide by.
///
/// ```
/// use latent_train::grpo::{GrpoConfig, Objective, Sampled};
/// let config = GrpoConfig { beta: 0.0, ..GrpoConfig::default() };
/// let sampled = [
///     Sampled { old_logps: vec![-1.0, -2.0], advantage: 0.5, ..Sampled::default() },
///     Sampled { old_logps: vec![-1.0], advantage: -0.5, ..Sampled::default() },
/// ];
/// let mut objective = Objective::new(&sampled, None, &config)?;
/// assert_eq!(objective.token(0, 0, -1.0)?, -0.5 / 4.0); // half of a completion, which is half of all
/// assert_eq!(objective.token(0, 1, -1.0)?, 0.0); // more probable by more than a fifth already
/// assert_eq!(objective.token(1, 0, -1.0)?, 0.5 / 2.0);
/// let (loss, metrics) = objective.finish();
/// assert!((loss - (-0.5 / 4.0 - 1.2 * 0.5 / 4.0 + 0.5 / 2.0)).abs() < 1e-15);
/// assert_eq!((metrics.tokens, metrics.clip_high), (3, 1.0 / 3.0));
/// # Ok::<(), latent_train::grpo::GrpoError>(())
/// ```
///
/// # Source
/// DeepSeekMath (arXiv 2402.03300), equations 3 and 4; masks, sums and metrics as in TRL's
/// `trl/trainer/grpo_trainer.py`, `_compute_loss`.
#[derive(Debug)]
pub struct Objective<'a> {
    config: &'a GrpoConfig,
    batch: Vec<&'a Sampled>,
    /// What a token of each completion counts; 0 of those that are masked.
    counts: Vec<f64>,
    sums: Sums,
}

/// What is summed up over tokens.
#[derive(Debug, Default)]
struct Sums {
    loss: f64,
    tokens: usize,
    ratio: f64,
    max_ratio_deviation: f64,
    low: usize,
    high: usize,
    kl: f64,
    with_reference: usize,
}

impl<'a> Objective<'a> {
    /// The objective of `batch`, which is all of a batch or the part of a `whole` one that is computed at
    /// once: losses and gradients of all parts are to be added. [`LossType::Bnpo`] takes its mean over
    /// the tokens of the part.
    ///
    /// # Errors
    /// [`GrpoError::Setting`] of the config, or for a `whole` that is less than its part;
    /// [`GrpoError::Empty`] for a completion of no tokens, [`GrpoError::Length`] where the log-probabilities by both models are not as many,
    /// [`GrpoError::Missing`] where the divergence has a weight and a completion no reference,
    /// [`GrpoError::Advantage`] for NaN or an infinity.
    pub fn new(
        batch: impl IntoIterator<Item = &'a Sampled>,
        whole: Option<Whole>,
        config: &'a GrpoConfig,
    ) -> Result<Self, GrpoError> {
        config.validate()?;
        let batch: Vec<&Sampled> = batch.into_iter().collect();
        for (completion, sampled) in batch.iter().enumerate() {
            sampled.check(completion, config)?;
        }
        let here = Whole::of(batch.iter().copied(), config);
        let whole = whole.unwrap_or(here);
        if whole.completions < here.completions || whole.tokens < here.tokens {
            let wanted = format!("at least the {here:?} of its part");
            return Err(GrpoError::setting("whole", format!("{whole:?}"), wanted));
        }
        let share = here.completions as f64 / whole.completions.max(1) as f64;
        let counts = batch.iter().map(|sampled| {
            let divisor = match config.loss_type {
                _ if sampled.is_masked(config) => return 0.0,
                LossType::Grpo => (whole.completions * sampled.old_logps.len()) as f64,
                LossType::Bnpo => here.tokens as f64 / share,
                LossType::Dapo => whole.tokens as f64,
                LossType::DrGrpo => whole.completions as f64 * config.max_completion_length as f64,
            };
            divisor.recip()
        });
        let counts = counts.collect();
        Ok(Self { config, batch, counts, sums: Sums::default() })
    }

    /// Whether the tokens of a completion count: those of a masked one are not asked for.
    #[must_use]
    pub fn counts(&self, completion: usize) -> bool {
        !self.batch[completion].is_masked(self.config)
    }

    /// Adds a token of a completion that counts, by its log-probability, and returns the derivative of
    /// the loss by that: `n ( -[not held by the clip] r A + beta (1 - exp(ref_logp - logp)) )`.
    ///
    /// # Errors
    /// [`GrpoError::Token`] for a log-probability that is not finite, one that is more than
    /// [`MAX_LOG_RATIO`](super::MAX_LOG_RATIO) above that of sampling or as much below that of the
    /// reference, a term that is not finite, and a derivative that does not fit `f32`.
    ///
    /// # Panics
    /// Where there is no such completion or token.
    pub fn token(&mut self, completion: usize, token: usize, logp: f64) -> Result<f64, GrpoError> {
        let (sampled, count) = (self.batch[completion], self.counts[completion]);
        let logps = LogProbs {
            new: logp,
            old: sampled.old_logps[token],
            reference: sampled.ref_logps.as_ref().map(|of| of[token]),
        };
        let refused = |(name, found, wanted)| {
            Err(GrpoError::Token { name, completion, token, found, wanted })
        };
        if let Some(refusal) = logps.refusal() {
            return refused(refusal);
        }
        let term = Term::of(logps, sampled.advantage, self.config);
        let slope = -count * term.slope;
        if !term.value.is_finite() {
            return refused(("objective", term.value, "a finite number"));
        }
        if slope.is_nan() || slope.abs() > f64::from(f32::MAX) {
            return refused(("derivative by logps", slope, "one that fits f32"));
        }
        self.sums.add(count, &term);
        Ok(slope)
    }

    /// The loss and what is watched, of the tokens that were added.
    #[must_use]
    pub fn finish(self) -> (f64, Metrics) {
        let of = &self.sums;
        let mean = |sum: f64| sum / of.tokens.max(1) as f64;
        let metrics = Metrics {
            tokens: of.tokens,
            masked: (0..self.batch.len()).filter(|&i| !self.counts(i)).count(),
            kl: (of.with_reference == of.tokens).then(|| mean(of.kl)),
            clip_low: mean(of.low as f64),
            clip_high: mean(of.high as f64),
            clip_region: mean((of.low + of.high) as f64),
            ratio: mean(of.ratio),
            max_ratio_deviation: of.max_ratio_deviation,
            entropy: None,
        };
        (of.loss, metrics)
    }
}

impl Sums {
    fn add(&mut self, count: f64, term: &Term) {
        self.loss -= count * term.value;
        self.tokens += 1;
        self.ratio += term.ratio;
        self.max_ratio_deviation = self.max_ratio_deviation.max((term.ratio - 1.0).abs());
        self.low += usize::from(term.is_low);
        self.high += usize::from(term.is_high);
        self.kl += term.kl.unwrap_or(0.0);
        self.with_reference += usize::from(term.kl.is_some());
    }
}
