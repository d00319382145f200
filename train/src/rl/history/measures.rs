//! What is asked of a history: before and after, how fast, and what went along with what.

use super::{RlHistory, RlStepPoint};
use crate::rl::RlEvaluation;

/// The fewest pairs that a correlation is computed of: two lie on a line whatever they are.
const FEWEST: usize = 3;

/// When a run got somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// The steps that were taken before.
    pub step: u64,
    /// The questions that were asked in them.
    pub questions: u64,
}

impl RlHistory {
    /// The first evaluation and the last, with their steps: the same where there is one. `None` where there is none.
    #[must_use]
    pub fn before_and_after(&self) -> Option<[&(u64, RlEvaluation); 2]> {
        Some([self.evaluations.first()?, self.evaluations.last()?])
    }

    /// The characters of a thought in the first tenth of the steps and in the last, of at least one step each; means
    /// over answers. `None` where there is no step.
    #[must_use]
    pub fn thinking_early_and_late(&self) -> Option<[f64; 2]> {
        let tenth = self.steps.len().div_ceil(10);
        let mean = |steps: &[RlStepPoint]| {
            let answers = |step: &RlStepPoint| step.stats.answers as f64;
            let all: f64 = steps.iter().map(answers).sum();
            let mean = steps.iter().map(|step| step.stats.thinking * (answers(step) / all)).sum();
            (all > 0.0).then_some(mean)
        };
        let late = self.steps.len() - tenth;
        Some([mean(&self.steps[..tenth])?, mean(&self.steps[late..])?])
    }

    /// Pearson's correlation over evaluations of accuracy with the length of thoughts. `None` of fewer than three
    /// evaluations, and where one of the two is always the same.
    #[must_use]
    pub fn accuracy_with_thinking(&self) -> Option<f64> {
        let pairs = self.evaluations.iter().map(|(_, found)| found.stats);
        let pairs: Vec<_> = pairs.map(|stats| (stats.accuracy, stats.thinking)).collect();
        correlation(&pairs)
    }

    /// When the accuracy on questions that are held out was first at least so high; `None` where it never was.
    #[must_use]
    pub fn reached(&self, accuracy: f64) -> Option<Reached> {
        let found = self.evaluations.iter().find(|(_, found)| found.stats.accuracy >= accuracy);
        let step = found?.0;
        let before = self.steps.iter().filter(|point| point.step <= step);
        Some(Reached { step, questions: sum(before.map(|point| point.questions)) })
    }

    /// The questions of all steps.
    #[must_use]
    pub fn questions(&self) -> u64 {
        sum(self.steps.iter().map(|step| step.questions))
    }

    /// The tokens of all answers that were drawn in steps.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        sum(self.steps.iter().map(|step| step.stats.tokens as u64))
    }

    /// How long all steps took. Evaluations are not in it.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|step| step.seconds).sum()
    }
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

/// Pearson's correlation.
fn correlation(pairs: &[(f64, f64)]) -> Option<f64> {
    let (first, n) = (pairs.first()?, pairs.len() as f64);
    // Compared as they are: a mean of equal numbers may be none of them.
    let varies = |same: &dyn Fn(&(f64, f64)) -> bool| !pairs.iter().all(same);
    let vary = varies(&|pair| pair.0.total_cmp(&first.0).is_eq())
        && varies(&|pair| pair.1.total_cmp(&first.1).is_eq());
    if pairs.len() < FEWEST || !vary {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(|pair| of(pair) / n).sum::<f64>();
    let means = (mean(|pair| pair.0), mean(|pair| pair.1));
    let product = |of: fn(f64, f64) -> f64| -> f64 {
        pairs.iter().map(|(a, b)| of(a - means.0, b - means.1)).sum()
    };
    let found =
        product(|a, b| a * b) / (product(|a, _| a * a).sqrt() * product(|_, b| b * b).sqrt());
    found.is_finite().then_some(found.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_is_one_on_a_line_and_minus_one_on_a_falling_one() {
        let line = |slope: f64| (0..5).map(|i| (f64::from(i), slope * f64::from(i))).collect();
        let found = |pairs: Vec<(f64, f64)>| correlation(&pairs);
        assert!((found(line(3.0)).unwrap_or(0.0) - 1.0).abs() < 1e-12);
        assert!((found(line(-0.1)).unwrap_or(0.0) + 1.0).abs() < 1e-12);
        // By hand: covariance 1, variances 2 and 2.
        let half = correlation(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]);
        assert!((half.unwrap_or(0.0) - 0.5).abs() < 1e-12, "{half:?}");
    }

    #[test]
    fn what_does_not_vary_has_no_correlation() {
        assert_eq!(correlation(&[]), None);
        assert_eq!(correlation(&[(0.0, 1.0), (1.0, 2.0)]), None, "two are always on a line");
        assert_eq!(correlation(&[(0.1, 1.0), (0.1, 2.0), (0.1, 4.0)]), None);
        assert_eq!(correlation(&[(1.0, 0.3), (2.0, 0.3), (4.0, 0.3)]), None);
        assert_eq!(correlation(&[(1e308, -1e308), (-1e308, 1e308), (1.0, 3.0)]), None);
    }
}
