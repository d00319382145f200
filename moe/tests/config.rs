//! Settings that cannot work are refused by name.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use latent_moe::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};

fn gate(
    n_routed_experts: usize,
    num_experts_per_tok: usize,
    topk_method: TopkMethod,
) -> GateConfig {
    GateConfig {
        n_routed_experts,
        num_experts_per_tok,
        scoring_func: ScoringFunc::Sigmoid,
        topk_method,
        norm_topk_prob: true,
        routed_scaling_factor: 2.5,
    }
}

fn refused(gate: &GateConfig) -> String {
    gate.validate().unwrap_err().to_string()
}

fn noaux_tc(n_group: usize, topk_group: usize) -> TopkMethod {
    TopkMethod::NoauxTc { n_group, topk_group }
}

fn limited(n_group: usize, topk_group: usize) -> TopkMethod {
    TopkMethod::GroupLimitedGreedy { n_group, topk_group }
}

#[test]
fn published_gates_are_valid() {
    for (experts, k, method) in [
        (64, 6, TopkMethod::Greedy),
        (160, 6, limited(8, 3)),
        (256, 8, noaux_tc(8, 4)),
        (64, 6, noaux_tc(1, 1)),
        (384, 8, noaux_tc(1, 1)),
        (1, 1, noaux_tc(1, 1)),
    ] {
        assert_eq!(gate(experts, k, method).validate(), Ok(()));
    }
}

#[test]
fn more_chosen_than_there_are_names_both() {
    assert_eq!(
        refused(&gate(4, 5, TopkMethod::Greedy)),
        "num_experts_per_tok: must be at most n_routed_experts 4, got 5"
    );
}

#[test]
fn groups_that_do_not_divide_the_experts_are_named() {
    for method in [limited(3, 1), noaux_tc(3, 1)] {
        assert_eq!(
            refused(&gate(8, 2, method)),
            "n_group: must be a divisor of n_routed_experts 8, got 3"
        );
    }
}

#[test]
fn more_groups_used_than_there_are_is_named() {
    assert_eq!(
        refused(&gate(8, 2, noaux_tc(4, 5))),
        "topk_group: must be at most n_group 4, got 5"
    );
}

#[test]
fn groups_of_one_have_no_two_best() {
    assert!(refused(&gate(8, 2, noaux_tc(8, 4))).starts_with("n_group: must be at most 4"));
    assert_eq!(gate(8, 2, limited(8, 4)).validate(), Ok(()));
}

#[test]
fn groups_too_small_for_the_choice_are_named() {
    assert_eq!(
        refused(&gate(8, 5, noaux_tc(4, 2))),
        "num_experts_per_tok: must be at most 4: 2 groups of 2, got 5"
    );
}

#[test]
fn zeros_are_named() {
    assert!(refused(&gate(0, 1, TopkMethod::Greedy)).starts_with("n_routed_experts"));
    assert!(refused(&gate(4, 0, TopkMethod::Greedy)).starts_with("num_experts_per_tok"));
    assert!(refused(&gate(4, 1, noaux_tc(0, 1))).starts_with("n_group"));
    assert!(refused(&gate(4, 1, noaux_tc(2, 0))).starts_with("topk_group"));
}

#[test]
fn a_scale_that_is_no_positive_number_is_named() {
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let mut gate = gate(4, 1, TopkMethod::Greedy);
        gate.routed_scaling_factor = scale;
        assert!(refused(&gate).starts_with("routed_scaling_factor: must be a finite number"));
    }
}

#[test]
fn sizes_of_a_layer_are_named() {
    let valid = MoeConfig {
        hidden_size: 8,
        moe_intermediate_size: 4,
        n_shared_experts: 0,
        gate: gate(4, 2, TopkMethod::Greedy),
    };
    assert_eq!(valid.validate(), Ok(()));
    let message = |config: MoeConfig| config.validate().unwrap_err().to_string();
    assert!(message(MoeConfig { hidden_size: 0, ..valid.clone() }).starts_with("hidden_size"));
    assert!(
        message(MoeConfig { moe_intermediate_size: 0, ..valid.clone() })
            .starts_with("moe_intermediate_size")
    );
    assert!(
        message(MoeConfig { n_shared_experts: usize::MAX, ..valid })
            .starts_with("n_shared_experts")
    );
}
