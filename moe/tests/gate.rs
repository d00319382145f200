//! The gate on numbers worked by hand, the known traps among them.
#![expect(clippy::float_cmp, reason = "these numbers are exact")]

use latent_moe::kernels::{Backend, Reference};
use latent_moe::{Experts, GateConfig, MoeError, Routing, ScoringFunc, TopkMethod, gate};

fn config(experts: usize, k: usize, scoring_func: ScoringFunc, method: TopkMethod) -> GateConfig {
    GateConfig {
        n_routed_experts: experts,
        num_experts_per_tok: k,
        scoring_func,
        topk_method: method,
        norm_topk_prob: false,
        routed_scaling_factor: 1.0,
    }
}

/// Routes one token.
fn route(gate: &GateConfig, logits: &[f64], bias: Option<&[f64]>) -> Result<Routing, MoeError> {
    let cpu = Reference::<f64>::new();
    let bias = bias.map(|b| cpu.upload(b, &[b.len()])).transpose()?;
    cpu.route(&cpu.upload(logits, &[1, logits.len()])?, bias.as_ref(), gate)
}

fn close(got: &[f64], want: &[f64]) -> bool {
    got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() <= 1e-15)
}

const ONE_OF_TWO: (usize, usize) = (2, 1);

fn noaux_tc((n_group, topk_group): (usize, usize)) -> TopkMethod {
    TopkMethod::NoauxTc { n_group, topk_group }
}

#[test]
fn greedy_weighs_by_softmax_and_scales() {
    // Scores 1/8, 5/8, 2/8.
    let logits = [1.0_f64.ln(), 5.0_f64.ln(), 2.0_f64.ln()];
    let mut gate = config(3, 2, ScoringFunc::Softmax, TopkMethod::Greedy);
    gate.routed_scaling_factor = 2.0;
    let routing = route(&gate, &logits, None).unwrap();
    assert_eq!(routing.experts(), [1, 2]);
    assert!(close(routing.weights(), &[1.25, 0.5]), "{routing:?}");
    gate.norm_topk_prob = true;
    let routing = route(&gate, &logits, None).unwrap();
    assert!(close(routing.weights(), &[10.0 / 7.0, 4.0 / 7.0]), "{routing:?}");
}

#[test]
fn experts_of_closed_groups_lose_to_negative_scores() {
    // s + b = [1, -0.4 | 0.1, 0.1]: group 0 wins by 0.6 to 0.2. A mask of 0 would choose expert 2
    // before expert 1.
    let gate = config(4, 2, ScoringFunc::Sigmoid, noaux_tc(ONE_OF_TWO));
    let routing = route(&gate, &[0.0; 4], Some(&[0.5, -0.9, -0.4, -0.4])).unwrap();
    assert_eq!(routing.experts(), [0, 1]);
}

#[test]
fn groups_are_judged_by_their_best_or_by_their_two_best() {
    // Scores 0.9, 0.1 | 0.6, 0.6: the best single one is in group 0, the best two in group 1.
    let logits = [9.0_f64.ln(), -(9.0_f64.ln()), 1.5_f64.ln(), 1.5_f64.ln()];
    let (n_group, topk_group) = ONE_OF_TWO;
    let by_max = TopkMethod::GroupLimitedGreedy { n_group, topk_group };
    let gate = config(4, 1, ScoringFunc::Sigmoid, by_max);
    assert_eq!(route(&gate, &logits, None).unwrap().experts(), [0]);
    let gate = config(4, 1, ScoringFunc::Sigmoid, noaux_tc(ONE_OF_TWO));
    assert_eq!(route(&gate, &logits, Some(&[0.0; 4])).unwrap().experts(), [2]);
}

#[test]
fn groups_are_judged_by_biased_scores() {
    let gate = config(4, 2, ScoringFunc::Sigmoid, noaux_tc(ONE_OF_TWO));
    let routing = route(&gate, &[1.0, 1.0, 0.0, 0.0], Some(&[0.0, 0.0, 0.5, 0.5])).unwrap();
    assert_eq!(routing.experts(), [2, 3]);
    assert!(close(routing.weights(), &[0.5, 0.5]), "{routing:?}");
}

#[test]
fn group_limited_greedy_closes_scores_of_other_groups() {
    // Scores 0.4, 0.05 | 0.3, 0.25.
    let logits = [0.4_f64, 0.05, 0.3, 0.25].map(f64::ln);
    let method = TopkMethod::GroupLimitedGreedy { n_group: 2, topk_group: 1 };
    let routing = route(&config(4, 2, ScoringFunc::Softmax, method), &logits, None).unwrap();
    assert_eq!(routing.experts(), [0, 1]);
    assert!(close(routing.weights(), &[0.4, 0.05]), "{routing:?}");
}

#[test]
fn the_bias_chooses_and_never_weighs() {
    let mut gate = config(3, 2, ScoringFunc::Sigmoid, noaux_tc((1, 1)));
    let bias = [0.0, 0.25, 0.125];
    let routing = route(&gate, &[0.0; 3], Some(&bias)).unwrap();
    assert_eq!(routing.experts(), [1, 2]);
    assert!(close(routing.weights(), &[0.5, 0.5]), "{routing:?}");
    gate.norm_topk_prob = true;
    gate.routed_scaling_factor = 2.5;
    let routing = route(&gate, &[0.0; 3], Some(&bias)).unwrap();
    assert!(close(routing.weights(), &[1.25, 1.25]), "{routing:?}");
}

#[test]
fn equal_groups_go_to_the_lowest_index() {
    let gate = config(6, 2, ScoringFunc::Sigmoid, noaux_tc((3, 1)));
    assert_eq!(route(&gate, &[1.0; 6], Some(&[0.0; 6])).unwrap().experts(), [0, 1]);
    let last = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0];
    assert_eq!(route(&gate, &last, Some(&[0.0; 6])).unwrap().experts(), [2, 3]);
}

#[test]
fn one_group_of_one_expert_restricts_nothing() {
    let gate = config(1, 1, ScoringFunc::Sigmoid, noaux_tc((1, 1)));
    let routing = route(&gate, &[0.0], Some(&[-3.0])).unwrap();
    assert_eq!((routing.experts(), routing.weights()), (&[0][..], &[0.5][..]));
}

#[test]
fn scores_keep_their_digits_at_the_ends() {
    let sigmoid = gate::scores(&[-1000.0, 1000.0, -95.0_f32], 3, ScoringFunc::Sigmoid).unwrap();
    assert_eq!(sigmoid[..2], [0.0, 1.0]);
    // e⁹⁵ overflows in f32, e⁻⁹⁵ does not vanish.
    assert_eq!(sigmoid[2], (-95.0_f32).exp());
    assert!(sigmoid[2] > 0.0);
    // softplus(ln(e⁴ - 1)) = 4, and softplus(x) = x for large x.
    let logits = [(4.0_f64.exp() - 1.0).ln(), 1e6, -1000.0];
    let softplus = gate::scores(&logits, 3, ScoringFunc::SqrtSoftplus).unwrap();
    assert!(close(&softplus, &[2.0, 1000.0, 0.0]), "{softplus:?}");
    let softmax = gate::scores(&[1e4, 1e4, -1e4_f64], 3, ScoringFunc::Softmax).unwrap();
    assert_eq!(softmax, [0.5, 0.5, 0.0]);
}

#[test]
fn errors_name_token_and_expert() {
    let message =
        |logits: &[f64]| gate::scores(logits, 2, ScoringFunc::Softmax).unwrap_err().to_string();
    assert_eq!(
        message(&[0.0, 0.0, 0.0, f64::NAN]),
        "router logits: NaN at token 1, expert 1, want a finite number or -inf"
    );
    assert_eq!(
        message(&[f64::INFINITY, 0.0]),
        "router logits: inf at token 0, expert 0, want a finite number or -inf"
    );
    assert_eq!(
        message(&[0.0, 0.0, f64::NEG_INFINITY, f64::NEG_INFINITY]),
        "router logits: every expert of token 1 has -inf, want one finite logit"
    );
    assert!(gate::scores(&[0.0; 3], 2, ScoringFunc::Softmax).is_err());
    assert!(gate::scores::<f64>(&[], 0, ScoringFunc::Softmax).is_err());
}

#[test]
fn huge_biases_are_no_nan() {
    let gate = config(4, 2, ScoringFunc::Sigmoid, noaux_tc(ONE_OF_TWO));
    let bias = [f64::MAX, f64::MAX, -f64::MAX, -f64::MAX];
    let routing = route(&gate, &[0.0; 4], Some(&bias)).unwrap();
    assert_eq!((routing.experts(), routing.weights()), (&[0, 1][..], &[0.5, 0.5][..]));
}
