//! What routing is, on plain vectors, written for its meaning: an expert is chosen when fewer than
//! `k` others come before it.

use crate::{GateConfig, ScoringFunc, TopkMethod};

/// The scores of one token.
#[must_use]
pub fn scores(logits: &[f64], scoring_func: ScoringFunc) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - max).exp()).sum();
    let score = |&x: &f64| match scoring_func {
        ScoringFunc::Softmax => (x - max).exp() / sum,
        ScoringFunc::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        ScoringFunc::SqrtSoftplus if x > 40.0 => x.sqrt(),
        ScoringFunc::SqrtSoftplus => x.exp().ln_1p().sqrt(),
    };
    logits.iter().map(score).collect()
}

/// The groups that one token may use.
#[must_use]
pub fn open_groups(gate: &GateConfig, choice: &[f64]) -> Vec<usize> {
    let (_, topk_group, scores) = group_scores(gate, choice);
    (0..scores.len()).filter(|&g| before(&scores, g) < topk_group).collect()
}

/// The experts and weights of one token.
#[must_use]
pub fn route(gate: &GateConfig, logits: &[f64], bias: Option<&[f64]>) -> (Vec<usize>, Vec<f64>) {
    let scores = scores(logits, gate.scoring_func);
    let choice = choice(&scores, bias);
    let open = open_groups(gate, &choice);
    let (per_group, ..) = group_scores(gate, &choice);
    let candidates: Vec<usize> =
        (0..choice.len()).filter(|e| open.contains(&(e / per_group))).collect();
    let values: Vec<f64> = candidates.iter().map(|&e| choice[e]).collect();
    let chosen: Vec<usize> = (0..candidates.len())
        .filter(|&c| before(&values, c) < gate.num_experts_per_tok)
        .map(|c| candidates[c])
        .collect();
    let weights = weights(gate, &scores, &chosen);
    (chosen, weights)
}

/// The weights of the chosen experts by the scores of one token.
#[must_use]
pub fn weights(gate: &GateConfig, scores: &[f64], chosen: &[usize]) -> Vec<f64> {
    let sum: f64 = chosen.iter().map(|&e| scores[e]).sum();
    let divisor = if gate.norm_topk_prob { sum + 1e-20 } else { 1.0 };
    chosen.iter().map(|&e| scores[e] / divisor * gate.routed_scaling_factor).collect()
}

/// Whether any two values that are compared are equal or further apart than a rounding in `f32`,
/// and a softmax has something to choose from.
#[must_use]
pub fn is_clear(gate: &GateConfig, logits: &[f64], bias: Option<&[f64]>) -> bool {
    let choice = choice(&scores(logits, gate.scoring_func), bias);
    let apart = |values: &[f64]| {
        values.iter().enumerate().all(|(i, a)| {
            values[..i].iter().all(|b| {
                let scale = if bias.is_some() { 1.0 } else { a.abs().max(b.abs()) };
                let gap = (a - b).abs();
                gap <= 0.0 || gap > 1e-5 * scale
            })
        })
    };
    let (.., groups) = group_scores(gate, &choice);
    logits.iter().any(|x| x.is_finite()) && apart(&choice) && apart(&groups)
}

fn choice(scores: &[f64], bias: Option<&[f64]>) -> Vec<f64> {
    match bias {
        Some(bias) => scores.iter().zip(bias).map(|(s, b)| s + b).collect(),
        None => scores.to_vec(),
    }
}

/// How many come before `i` when sorted by descending value, then ascending index.
fn before(values: &[f64], i: usize) -> usize {
    let better = |j: usize| values[j] > values[i] || (values[j] >= values[i] && j < i);
    (0..values.len()).filter(|&j| better(j)).count()
}

/// Experts per group, groups to use, and the score of each group.
fn group_scores(gate: &GateConfig, choice: &[f64]) -> (usize, usize, Vec<f64>) {
    let (n_group, topk_group, best_of) = match gate.topk_method {
        TopkMethod::Greedy => (1, 1, 1),
        TopkMethod::GroupLimitedGreedy { n_group, topk_group } => (n_group, topk_group, 1),
        TopkMethod::NoauxTc { n_group, topk_group } => (n_group, topk_group, 2),
    };
    let per_group = choice.len() / n_group;
    let score = |group: &[f64]| {
        let mut group = group.to_vec();
        group.sort_by(|a, b| b.total_cmp(a));
        group.iter().take(best_of).sum()
    };
    (per_group, topk_group, choice.chunks(per_group).map(score).collect())
}
