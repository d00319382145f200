//! The steps from logits to a draw, each a plain function.
//!
//! The filters take candidates from the largest logit to the smallest, ties by the lowest id (see
//! [`rank`]), keep a part from the front, and never keep none of at least one.

/// A token that may still be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub id: u32,
    /// Its logit.
    pub logit: f64,
}

/// Divides the positive logits of `previous` tokens by `penalty` and multiplies the others, each
/// once however often the token occurred. Ids beyond the logits are ignored.
///
/// # Source
/// Keskar et al., *CTRL* (arXiv 1909.05858), section 4.1, with the sign rule of transformers.
pub fn penalize_repetition(logits: &mut [f64], previous: &[u32], penalty: f64) {
    let mut seen = vec![false; logits.len()];
    for &id in previous {
        let id = id as usize;
        if id >= logits.len() || std::mem::replace(&mut seen[id], true) {
            continue;
        }
        let x = logits[id];
        if x.is_finite() {
            let y = if x > 0.0 { x / penalty } else { x * penalty };
            logits[id] = y.clamp(f64::MIN, f64::MAX);
        }
    }
}

/// Orders candidates from the largest logit to the smallest, ties by the lowest id.
pub fn rank(candidates: &mut [Candidate]) {
    candidates.sort_unstable_by(order);
}

/// Keeps the `k` largest candidates, ranked. Of equal ones at the edge the lowest ids stay, so
/// that exactly `k` do (transformers keeps all of them).
///
/// # Source
/// Fan et al. (arXiv 1805.04833), section 5.1.
pub fn keep_top_k(candidates: &mut Vec<Candidate>, k: usize) {
    if k > 0 && k < candidates.len() {
        candidates.select_nth_unstable_by(k - 1, order);
        candidates.truncate(k);
    }
    rank(candidates);
}

/// Keeps the fewest candidates from the front whose probabilities sum to at least `p`; `p >= 1`
/// keeps all. Wants ranked candidates.
///
/// # Source
/// Holtzman et al. (arXiv 1904.09751), section 3.1.
pub fn keep_top_p(candidates: &mut Vec<Candidate>, p: f64) {
    if p >= 1.0 {
        return;
    }
    let mut sum = 0.0;
    let before_p = |&x: &f64| {
        let before = sum < p;
        sum += x;
        before
    };
    let kept = probabilities(candidates).iter().copied().take_while(before_p).count();
    candidates.truncate(kept.max(1));
}

/// Keeps the candidates at least `share` as probable as the first. Wants ranked candidates.
///
/// # Source
/// Nguyen et al. (arXiv 2407.01082), section 3.
pub fn keep_min_p(candidates: &mut Vec<Candidate>, share: f64) {
    if share <= 0.0 {
        return;
    }
    let Some(first) = candidates.first().map(|c| c.logit) else { return };
    candidates.retain(|c| (c.logit - first).exp() >= share);
}

/// The softmax of the candidates' logits, in their order.
#[must_use]
pub fn probabilities(candidates: &[Candidate]) -> Vec<f64> {
    let max = candidates.iter().map(|c| c.logit).fold(f64::NEG_INFINITY, f64::max);
    let mut weights: Vec<f64> = candidates.iter().map(|c| (c.logit - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    weights
}

/// The first index at which the running sum of `probabilities` exceeds `u` of `[0, 1)`; where
/// rounding leaves the sum below `u`, the last that is not 0. `None` where all are 0.
///
/// ```
/// use latent_model::sampling::filters::pick;
/// assert_eq!(pick(&[0.25, 0.0, 0.75], 0.2), Some(0));
/// assert_eq!(pick(&[0.25, 0.0, 0.75], 0.25), Some(2));
/// ```
#[must_use]
pub fn pick(probabilities: &[f64], u: f64) -> Option<usize> {
    let mut sum = 0.0;
    let mut last = None;
    for (i, &p) in probabilities.iter().enumerate() {
        if p > 0.0 {
            sum += p;
            last = Some(i);
            if sum > u {
                break;
            }
        }
    }
    last
}

fn order(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}
