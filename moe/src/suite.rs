//! The properties that every backend's experts have, to be stamped with
//! [`experts_suite!`](crate::experts_suite!).
//!
//! Each property is a function of a backend and its tolerance, and panics with a small input where
//! the backend breaks it. What is expected is computed by [`definition`] on plain `f64` vectors.

#![expect(clippy::missing_panics_doc, reason = "a property panics where it does not hold")]

use std::ops::Range;

use latent_kernels::suite::upload;
use proptest::prelude::*;

use crate::{Experts, GateConfig, MoeError, Routing, ScoringFunc, TopkMethod};

pub mod backward;
pub mod definition;
pub mod dispatch;
pub mod gate;
pub mod layer;

/// Holds a backend to the definition of gate, dispatch and experts: one `#[test]` per property of
/// `latent_moe::suite` (feature `suite`). Stamp each backend in a module of its own.
///
/// ```
/// mod reference_f64 {
///     use latent_moe::kernels::{Reference, Tolerance};
///     latent_moe::experts_suite!(Reference::<f64>::new(), Tolerance::F64);
/// }
/// ```
#[macro_export]
macro_rules! experts_suite {
    ($backend:expr, $tolerance:expr $(,)?) => {
        $crate::kernels::stamp! { $crate::suite, $backend, $tolerance;
            gate: routing_follows_its_definition, routing_follows_a_permutation_of_tokens,
                a_token_alone_is_routed_as_in_a_batch, weights_do_not_depend_on_the_bias,
                a_common_bias_changes_nothing, chosen_experts_lie_in_chosen_groups,
                weights_sum_to_the_scale_when_normalised, ties_go_to_the_lowest_index,
                extreme_logits_are_scored, bad_logits_are_errors, a_bad_bias_is_an_error,
                no_tokens_give_an_empty_routing, wrong_shapes_are_errors;
            dispatch: rows_are_sorted_by_expert, combine_follows_its_definition,
                identity_experts_return_the_input, one_expert_takes_every_token,
                a_token_alone_is_combined_as_in_a_batch, wrong_shapes_are_errors;
            layer: follows_its_definition, batch_mates_change_no_bit, threads_change_no_bit,
                experts_without_tokens_are_not_touched, shared_experts_are_added_to_routed_ones,
                no_tokens_give_no_rows, wrong_shapes_are_errors;
        }
    };
}

/// Holds the gradients of a backend to those of the definition, as
/// [`experts_suite!`](crate::experts_suite!) does its operations.
///
/// ```
/// mod reference_f64 {
///     use latent_moe::kernels::{Reference, Tolerance};
///     latent_moe::experts_backward_suite!(Reference::<f64>::new(), Tolerance::F64);
/// }
/// ```
#[macro_export]
macro_rules! experts_backward_suite {
    ($backend:expr, $tolerance:expr $(,)?) => {
        $crate::kernels::stamp! { $crate::suite, $backend, $tolerance;
            backward: follow_their_definition, saving_changes_no_bit, batch_mates_change_no_bit,
                threads_change_no_bit, edges;
        }
    };
}

/// A gate and what it routes.
#[derive(Debug, Clone)]
struct Case {
    gate: GateConfig,
    logits: Vec<Vec<f64>>,  // [token, expert], ties and -inf among them
    bias: Option<Vec<f64>>, // [expert]
}

impl Case {
    /// The choice of `backend`, on it.
    fn route<B: Experts>(&self, backend: &B) -> Result<B::Routing, MoeError> {
        let shape = [self.logits.len(), self.gate.n_routed_experts];
        let logits = upload(backend, &self.logits.concat(), &shape);
        let bias = self.bias.as_ref().map(|b| upload(backend, b, &[b.len()]));
        backend.route(&logits, bias.as_ref(), &self.gate)
    }

    /// The choice of `backend`, on the host.
    fn host_routing<B: Experts>(&self, backend: &B) -> Result<Routing, MoeError> {
        backend.host_routing(&self.route(backend)?)
    }

    /// The same gate for some of the tokens.
    fn part(&self, tokens: Range<usize>) -> Self {
        Self { logits: self.logits[tokens].to_vec(), ..self.clone() }
    }
}

/// Gates of every method and scoring, on 1 to 16 experts, one and all of them chosen among them.
fn gates() -> impl Strategy<Value = GateConfig> {
    let scoring = prop::sample::select(vec![
        ScoringFunc::Softmax,
        ScoringFunc::Sigmoid,
        ScoringFunc::SqrtSoftplus,
    ]);
    (0..3, 1..=4_usize, 1..=4_usize, 0.0..1.0, 0.0..1.0, scoring, any::<bool>(), any::<bool>())
        .prop_map(|(method, n_group, per_group, groups, experts, scoring_func, norm, scaled)| {
            // `noaux_tc` sums the two best of each of several groups.
            let per_group = if n_group == 1 { per_group } else { per_group.max(2) };
            let topk_group = pick(groups, n_group);
            let (topk_method, candidates) = match method {
                0 => (TopkMethod::Greedy, n_group * per_group),
                1 => {
                    (TopkMethod::GroupLimitedGreedy { n_group, topk_group }, topk_group * per_group)
                }
                _ => (TopkMethod::NoauxTc { n_group, topk_group }, topk_group * per_group),
            };
            GateConfig {
                n_routed_experts: n_group * per_group,
                num_experts_per_tok: pick(experts, candidates),
                scoring_func,
                topk_method,
                norm_topk_prob: norm,
                routed_scaling_factor: if scaled { 2.5 } else { 1.0 },
            }
        })
}

/// A number of `1..=n`.
fn pick(fraction: f64, n: usize) -> usize {
    (1..=n).find(|&i| fraction * (n as f64) < i as f64).unwrap_or(n)
}

/// Gates with up to five tokens. Logits and biases lie on a grid that any scalar holds exactly, so
/// that ties are frequent and exact; scores that differ by less than a rounding are left out.
fn cases() -> impl Strategy<Value = Case> {
    let logit = || {
        prop_oneof![
            12 => (-16..=16_i32).prop_map(|g| f64::from(g) / 2.0 + 0.125),
            1 => prop::sample::select(vec![1e4, -1e4, f64::NEG_INFINITY]),
        ]
    };
    gates()
        .prop_flat_map(move |gate| {
            let n = gate.n_routed_experts;
            let bias = prop::collection::vec((-4..=4_i32).prop_map(|g| f64::from(g) * 0.3125), n);
            let logits = prop::collection::vec(prop::collection::vec(logit(), n), 0..6);
            (Just(gate), logits, bias)
        })
        .prop_map(|(gate, logits, bias)| {
            let bias = gate.has_bias().then_some(bias);
            Case { gate, logits, bias }
        })
        .prop_filter("scores that a rounding can swap", |case| {
            case.logits
                .iter()
                .all(|row| definition::is_clear(&case.gate, row, case.bias.as_deref()))
        })
}
