//! The definition of [`gate`](crate::gate).

use std::cmp::Ordering;

use latent_kernels::Scalar;

use crate::gate::{check_bias, scores};
use crate::{GateConfig, MoeError, Routing, TopkMethod};

/// Routes rows of logits whose shapes were proved by [`check`](super::check).
pub(crate) fn route<T: Scalar>(
    logits: &[T],
    bias: Option<&[T]>,
    gate: &GateConfig,
) -> Result<Routing, MoeError> {
    let (n, k) = (gate.n_routed_experts, gate.num_experts_per_tok);
    check_bias(bias.unwrap_or_default())?;
    let scores = scores(logits, n, gate.scoring_func)?;
    let mut experts = Vec::with_capacity(scores.len() / n * k);
    let mut weights = Vec::with_capacity(scores.len() / n * k);
    for row in scores.chunks_exact(n) {
        let mut choice = row.to_vec();
        for (c, &b) in choice.iter_mut().zip(bias.unwrap_or_default()) {
            *c += b;
        }
        close_other_groups(&mut choice, gate.topk_method);
        let mut chosen = best(&choice, k);
        chosen.sort_unstable();
        weights.extend(weigh(row, &chosen, gate));
        experts.extend(chosen);
    }
    Routing::new(n, k, experts, weights)
}

/// Sets the experts outside of the best groups to `-∞`.
fn close_other_groups<T: Scalar>(choice: &mut [T], method: TopkMethod) {
    let (n_group, topk_group, best_of) = match method {
        TopkMethod::GroupLimitedGreedy { n_group, topk_group } => (n_group, topk_group, 1),
        TopkMethod::NoauxTc { n_group, topk_group } => (n_group, topk_group, 2),
        TopkMethod::Greedy => return,
    };
    if n_group == 1 {
        return;
    }
    let per_group = choice.len() / n_group;
    let group_scores: Vec<T> = choice
        .chunks_exact(per_group)
        .map(|group| best(group, best_of).into_iter().fold(T::zero(), |sum, i| sum + group[i]))
        .collect();
    let open = best(&group_scores, topk_group);
    for (g, group) in choice.chunks_exact_mut(per_group).enumerate() {
        if !open.contains(&g) {
            group.fill(T::neg_infinity());
        }
    }
}

/// The indices of the `k` largest values, ties to the lowest index. No value is NaN.
fn best<T: Scalar>(values: &[T], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].partial_cmp(&values[a]).unwrap_or(Ordering::Equal));
    order.truncate(k);
    order
}

/// The weights of the chosen experts by their unbiased scores, summed in ascending expert id.
fn weigh<T: Scalar>(scores: &[T], chosen: &[usize], gate: &GateConfig) -> Vec<f64> {
    let sum = chosen.iter().fold(T::zero(), |sum, &e| sum + scores[e]);
    let divisor = if gate.norm_topk_prob { sum + T::from_f64(1e-20) } else { T::one() };
    let scale = T::from_f64(gate.routed_scaling_factor);
    chosen.iter().map(|&e| (scores[e] / divisor * scale).as_f64()).collect()
}
