//! What one token says of the policy: its term in the objective, and how that changes with the token's
//! log-probability.

use super::GrpoConfig;

/// The largest logarithm of a ratio: `exp(80)` is 6e34. Models that are further apart are not those of
/// one training, and exponentials further up have no finite product with an advantage in `f32`.
pub const MAX_LOG_RATIO: f64 = 80.0;

/// The log-probabilities of a token: by the model that learns, by the one that sampled it, and by the
/// reference.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogProbs {
    pub(super) new: f64,
    pub(super) old: f64,
    pub(super) reference: Option<f64>,
}

impl LogProbs {
    /// What cannot be computed with: its name, its value, and what is wanted.
    pub(super) fn refusal(self) -> Option<(&'static str, f64, &'static str)> {
        let Self { new, old, reference } = self;
        let reference = reference.unwrap_or(new);
        let all = [("logps", new), ("old_logps", old), ("ref_logps", reference)];
        if let Some((name, found)) = all.into_iter().find(|(_, found)| !found.is_finite()) {
            return Some((name, found, "a finite number"));
        }
        let apart = [("logps - old_logps", new - old), ("ref_logps - logps", reference - new)];
        let (name, found) = apart.into_iter().find(|(_, found)| *found > MAX_LOG_RATIO)?;
        Some((name, found, "80 at most: these are not models of one training"))
    }
}

/// One token's part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Term {
    /// `min(r A, clip(r) A) - beta k3`: the larger the better.
    pub(super) value: f64,
    /// Its derivative by the token's log-probability.
    pub(super) slope: f64,
    /// `r`, how much more probable the token has become since it was sampled.
    pub(super) ratio: f64,
    /// `k3`, an estimate of the divergence from the reference.
    pub(super) kl: Option<f64>,
    /// Whether the ratio is held from below, where it should not fall further.
    pub(super) is_low: bool,
    /// Whether it is held from above, where it should not rise further.
    pub(super) is_high: bool,
}

impl Term {
    /// The term of a token with this advantage, whose log-probabilities are finite and no further apart
    /// than [`MAX_LOG_RATIO`] says.
    pub(super) fn of(logps: LogProbs, advantage: f64, config: &GrpoConfig) -> Self {
        let ratio = (logps.new - logps.old).exp();
        let (low, high) = (1.0 - config.epsilon, 1.0 + config.high());
        let mut value = (ratio * advantage).min(ratio.clamp(low, high) * advantage);
        // Elsewhere the minimum is the ratio's own product, which has the slope of the ratio.
        let (is_low, is_high) = (advantage < 0.0 && ratio < low, advantage > 0.0 && ratio > high);
        let mut slope = if is_low || is_high { 0.0 } else { ratio * advantage };
        let kl = logps.reference.map(|reference| k3(reference - logps.new));
        if let Some((k3, by_logp)) = kl {
            value -= config.beta * k3;
            slope -= config.beta * by_logp;
        }
        Self { value, slope, ratio, kl: kl.map(|(k3, _)| k3), is_low, is_high }
    }
}

/// `exp(d) - d - 1` of `d = ref - logp`, and its derivative by `logp`, `1 - exp(d)`.
///
/// It is never below 0, and 0 only where `d` is: near there the difference of nearly equal numbers is
/// replaced by the first terms of its series, which are exact to the last digit.
fn k3(d: f64) -> (f64, f64) {
    let value = if d.abs() < 1e-2 {
        // d²/2 (1 + d/3 (1 + d/4 (1 + d/5 (1 + d/6 (1 + d/7))))).
        d * d / 2.0 * [7.0, 6.0, 5.0, 4.0, 3.0].iter().fold(1.0, |rest, n| 1.0 + d / n * rest)
    } else {
        d.exp_m1() - d
    };
    (value, -d.exp_m1())
}
