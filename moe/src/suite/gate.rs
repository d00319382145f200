//! Properties of [`Experts::route`].

use latent_kernels::suite::{assert_same_bits, done, for_all, upload};
use latent_kernels::{Tolerance, assert_close};
use proptest::prelude::*;

use super::{Case, cases, definition, gates};
use crate::{Experts, GateConfig, MoeError, ScoringFunc, TopkMethod};

/// The experts and weights are those of [`definition::route`].
pub fn routing_follows_its_definition<B: Experts>(backend: &B, tolerance: Tolerance) {
    for_all(cases(), |case| {
        let got = done(case.host_routing(backend));
        assert_eq!(got.tokens(), case.logits.len());
        for (token, logits) in case.logits.iter().enumerate() {
            let (experts, weights) = definition::route(&case.gate, logits, case.bias.as_deref());
            assert_eq!(got.token(token).0, experts, "experts of token {token}");
            assert_close(got.token(token).1, &weights, tolerance);
        }
    });
}

/// Tokens in another order are routed in that order.
pub fn routing_follows_a_permutation_of_tokens<B: Experts>(backend: &B, _: Tolerance) {
    for_all((cases(), 0..6_usize), |(case, by)| {
        let mut permuted = case.clone();
        permuted.logits.reverse();
        let tokens = case.logits.len();
        permuted.logits.rotate_left(by.min(tokens));
        let (got, want) = (done(permuted.host_routing(backend)), done(case.host_routing(backend)));
        for token in 0..tokens {
            let origin = tokens - 1 - (token + by.min(tokens)) % tokens;
            assert_eq!(got.token(token).0, want.token(origin).0);
            assert_same_bits(got.token(token).1, want.token(origin).1);
        }
    });
}

/// A token has the same experts and bits alone as in a batch.
pub fn a_token_alone_is_routed_as_in_a_batch<B: Experts>(backend: &B, _: Tolerance) {
    for_all(cases(), |case| {
        let batch = done(case.host_routing(backend));
        for token in 0..case.logits.len() {
            let alone = done(case.part(token..token + 1).host_routing(backend));
            assert_eq!(alone.experts(), batch.token(token).0);
            assert_same_bits(alone.weights(), batch.token(token).1);
        }
    });
}

/// Where two biases choose the same experts, the weights have the same bits.
pub fn weights_do_not_depend_on_the_bias<B: Experts>(backend: &B, _: Tolerance) {
    let biased = cases().prop_filter("a gate with a bias", |case| case.bias.is_some());
    for_all(biased, |mut case| {
        // All experts are chosen, whatever the bias.
        case.gate.num_experts_per_tok = case.gate.n_routed_experts;
        case.gate.topk_method = TopkMethod::NoauxTc { n_group: 1, topk_group: 1 };
        let got = done(case.host_routing(backend));
        case.bias = Some(vec![0.0; case.gate.n_routed_experts]);
        let want = done(case.host_routing(backend));
        assert_eq!(got.experts(), want.experts());
        assert_same_bits(got.weights(), want.weights());
    });
}

/// The same number added to every bias changes neither choice nor weights.
pub fn a_common_bias_changes_nothing<B: Experts>(backend: &B, _: Tolerance) {
    let shift = (-8..=8_i32).prop_map(|g| f64::from(g) / 4.0);
    let biased = cases().prop_filter("a gate with a bias", |case| case.bias.is_some());
    for_all((biased, shift), |(mut case, shift)| {
        let want = done(case.host_routing(backend));
        case.bias.iter_mut().flatten().for_each(|b| *b += shift);
        let got = done(case.host_routing(backend));
        assert_eq!(got.experts(), want.experts());
        assert_same_bits(got.weights(), want.weights());
    });
}

/// No expert is chosen outside of the groups with the best scores.
pub fn chosen_experts_lie_in_chosen_groups<B: Experts>(backend: &B, _: Tolerance) {
    for_all(cases(), |case| {
        let n_group = match case.gate.topk_method {
            TopkMethod::Greedy => 1,
            TopkMethod::GroupLimitedGreedy { n_group, .. }
            | TopkMethod::NoauxTc { n_group, .. } => n_group,
        };
        let per_group = case.gate.n_routed_experts / n_group;
        let bias = case.bias.clone().unwrap_or(vec![0.0; case.gate.n_routed_experts]);
        let routing = done(case.host_routing(backend));
        for (token, logits) in case.logits.iter().enumerate() {
            let scores = definition::scores(logits, case.gate.scoring_func);
            let choice: Vec<f64> = scores.iter().zip(&bias).map(|(s, b)| s + b).collect();
            let open = definition::open_groups(&case.gate, &choice);
            let (experts, _) = routing.token(token);
            assert_eq!(experts.len(), case.gate.num_experts_per_tok);
            assert!(experts.iter().all(|e| open.contains(&(e / per_group))), "{experts:?}");
        }
    });
}

/// Normalised weights sum to `routed_scaling_factor`, unless all chosen scores are 0.
pub fn weights_sum_to_the_scale_when_normalised<B: Experts>(backend: &B, tolerance: Tolerance) {
    for_all(cases(), |mut case| {
        case.gate.norm_topk_prob = true;
        let routing = done(case.host_routing(backend));
        for (token, logits) in case.logits.iter().enumerate() {
            let (experts, weights) = routing.token(token);
            let scores = definition::scores(logits, case.gate.scoring_func);
            let scored = experts.iter().any(|&e| scores[e] > 0.0);
            let want = if scored { case.gate.routed_scaling_factor } else { 0.0 };
            assert_close(&[weights.iter().sum::<f64>()], &[want], tolerance);
        }
    });
}

/// Equal scores choose the first experts of the first groups.
pub fn ties_go_to_the_lowest_index<B: Experts>(backend: &B, tolerance: Tolerance) {
    for_all((gates(), -4..4_i32), |(gate, logit)| {
        let n = gate.n_routed_experts;
        let bias = gate.has_bias().then(|| vec![0.5; n]);
        let case = Case { logits: vec![vec![f64::from(logit); n]; 2], bias, gate };
        let routing = done(case.host_routing(backend));
        let experts: Vec<usize> = (0..case.gate.num_experts_per_tok).collect();
        let scores = definition::scores(&case.logits[0], case.gate.scoring_func);
        let weights = definition::weights(&case.gate, &scores, &experts);
        for token in 0..2 {
            assert_eq!(routing.token(token).0, experts);
            assert_close(routing.token(token).1, &weights, tolerance);
        }
    });
}

/// Logits of ±1e4 and `-∞` give the limits of their scores.
pub fn extreme_logits_are_scored<B: Experts>(backend: &B, tolerance: Tolerance) {
    let logits = vec![f64::NEG_INFINITY, 1e4, -1e4, 0.0];
    for (scoring_func, want) in [
        (ScoringFunc::Softmax, [0.0, 1.0, 0.0, 0.0]),
        (ScoringFunc::Sigmoid, [0.0, 1.0, 0.0, 0.5]),
        (ScoringFunc::SqrtSoftplus, [0.0, 100.0, 0.0, 2.0_f64.ln().sqrt()]),
    ] {
        let gate = GateConfig { scoring_func, ..greedy(4, 4) };
        let case = Case { gate, logits: vec![logits.clone()], bias: None };
        assert_close(done(case.host_routing(backend)).weights(), &want, tolerance);
    }
    // Nothing but -inf has a score of 0 everywhere, which normalising leaves alone.
    let gate = GateConfig { norm_topk_prob: true, ..greedy(3, 2) };
    let case = Case { gate, logits: vec![vec![f64::NEG_INFINITY; 3]], bias: None };
    let routing = done(case.host_routing(backend));
    assert_eq!(routing.experts(), [0, 1]);
    assert_close(routing.weights(), &[0.0, 0.0], tolerance);
}

/// NaN and `+∞` are errors that name token and expert; so is a softmax over nothing but `-∞`.
pub fn bad_logits_are_errors<B: Experts>(backend: &B, _: Tolerance) {
    for scoring_func in [ScoringFunc::Softmax, ScoringFunc::Sigmoid, ScoringFunc::SqrtSoftplus] {
        for bad in [f64::NAN, f64::INFINITY] {
            let gate = GateConfig { scoring_func, ..greedy(3, 1) };
            let logits = vec![vec![0.0; 3], vec![0.0, 0.0, bad], vec![bad; 3]];
            let error = Case { gate, logits, bias: None }.host_routing(backend).err();
            let Some(MoeError::Logit { token, expert, found }) = error else {
                panic!("want an error of a logit, got {error:?}");
            };
            assert_eq!((token, expert, found.is_nan()), (1, 2, bad.is_nan()));
        }
    }
    let gate = GateConfig { scoring_func: ScoringFunc::Softmax, ..greedy(2, 1) };
    let logits = vec![vec![0.0; 2], vec![f64::NEG_INFINITY; 2]];
    let error = Case { gate, logits, bias: None }.host_routing(backend).err();
    assert_eq!(error, Some(MoeError::NoScore { token: 1 }));
}

/// A bias must be there with `noaux_tc`, only there, and finite.
pub fn a_bad_bias_is_an_error<B: Experts>(backend: &B, _: Tolerance) {
    let noaux_tc = TopkMethod::NoauxTc { n_group: 1, topk_group: 1 };
    let refused = |topk_method, bias: Option<Vec<f64>>| {
        let gate = GateConfig { topk_method, ..greedy(2, 1) };
        let case = Case { gate, logits: vec![vec![0.0; 2]], bias };
        match case.host_routing(backend) {
            Err(error) => error,
            Ok(routing) => panic!("want an error, got {routing:?}"),
        }
    };
    assert!(matches!(refused(noaux_tc, None), MoeError::Config { .. }));
    assert!(matches!(refused(TopkMethod::Greedy, Some(vec![0.0; 2])), MoeError::Config { .. }));
    assert!(matches!(refused(noaux_tc, Some(vec![0.0; 3])), MoeError::Kernel(_)));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = refused(noaux_tc, Some(vec![0.0, bad]));
        assert!(matches!(error, MoeError::Bias { expert: 1, .. }), "{error}");
    }
}

/// No tokens give a routing without tokens, which remembers its sizes.
pub fn no_tokens_give_an_empty_routing<B: Experts>(backend: &B, _: Tolerance) {
    let case = Case { gate: greedy(5, 2), logits: vec![], bias: None };
    let routing = done(case.host_routing(backend));
    assert_eq!(routing.tokens(), 0);
    assert_eq!((routing.n_routed_experts(), routing.num_experts_per_tok()), (5, 2));
}

/// Logits that are no table of tokens and experts are refused, and so are bad settings.
pub fn wrong_shapes_are_errors<B: Experts>(backend: &B, _: Tolerance) {
    for shape in [&[6][..], &[2, 3], &[1, 2, 3]] {
        let logits = upload(backend, &[0.0; 6], shape);
        let result = backend.route(&logits, None, &greedy(2, 1));
        assert!(matches!(result, Err(MoeError::Kernel(_))), "{shape:?}");
    }
    let logits = upload(backend, &[0.0; 2], &[1, 2]);
    let result = backend.route(&logits, None, &greedy(2, 3));
    assert!(matches!(result, Err(MoeError::Config { .. })));
}

fn greedy(n_routed_experts: usize, num_experts_per_tok: usize) -> GateConfig {
    GateConfig {
        n_routed_experts,
        num_experts_per_tok,
        scoring_func: ScoringFunc::Sigmoid,
        topk_method: TopkMethod::Greedy,
        norm_topk_prob: false,
        routed_scaling_factor: 1.0,
    }
}
