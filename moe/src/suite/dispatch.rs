//! Properties of [`Experts::dispatch`] and [`Experts::combine`].

use latent_kernels::suite::{Values, assert_same_bits, done, download, for_all, upload, wide};
use latent_kernels::{Tolerance, assert_close};

use super::{Case, cases};
use crate::{Experts, GateConfig, MoeError, ScoringFunc, TopkMethod};

const DIM: usize = 3;

/// Rows are the tokens of expert 0 in their order, then those of expert 1, and so on.
pub fn rows_are_sorted_by_expert<B: Experts>(backend: &B, _: Tolerance) {
    for_all(cases(), |case| {
        let x: Vec<B::Scalar> = Values::new(1).draw(case.logits.len() * DIM);
        let routing = done(case.route(backend));
        let host = done(backend.host_routing(&routing));
        let mut want = Vec::new();
        for expert in 0..case.gate.n_routed_experts {
            for token in 0..case.logits.len() {
                if host.token(token).0.contains(&expert) {
                    want.extend_from_slice(&x[token * DIM..][..DIM]);
                }
            }
        }
        let x = done(backend.upload(&x, &[case.logits.len(), DIM]));
        assert_same_bits(&download(backend, backend.dispatch(&x, &routing)), &want);
    });
}

/// Each token gets the weighted sum of its own rows.
pub fn combine_follows_its_definition<B: Experts>(backend: &B, tolerance: Tolerance) {
    for_all(cases(), |case| {
        let (tokens, k) = (case.logits.len(), case.gate.num_experts_per_tok);
        let rows = wide(&Values::new(2).draw::<f32>(tokens * k * DIM));
        let routing = done(case.route(backend));
        let host = done(backend.host_routing(&routing));
        let mut want = vec![0.0; tokens * DIM];
        let mut rest = rows.chunks(DIM);
        for expert in 0..case.gate.n_routed_experts {
            for token in 0..tokens {
                let (experts, weights) = host.token(token);
                if let Some(at) = experts.iter().position(|&e| e == expert) {
                    let row = rest.next().expect("a row for each choice");
                    for (y, r) in want[token * DIM..].iter_mut().zip(row) {
                        *y += weights[at] * r;
                    }
                }
            }
        }
        let rows = upload(backend, &rows, &[tokens * k, DIM]);
        assert_close(&download(backend, backend.combine(&rows, &routing)), &want, tolerance);
    });
}

/// With weights that sum to 1, experts that do nothing return the input.
pub fn identity_experts_return_the_input<B: Experts>(backend: &B, tolerance: Tolerance) {
    for_all(cases(), |mut case| {
        case.gate.norm_topk_prob = true;
        case.gate.routed_scaling_factor = 1.0;
        // Every score is above 0.
        case.logits.iter_mut().flatten().for_each(|x| *x = x.clamp(-8.0, 8.0));
        let tokens = case.logits.len();
        let x: Vec<B::Scalar> = Values::new(3).draw(tokens * DIM);
        let routing = done(case.route(backend));
        let input = done(backend.upload(&x, &[tokens, DIM]));
        let rows = done(backend.dispatch(&input, &routing));
        assert_close(&download(backend, backend.combine(&rows, &routing)), &x, tolerance);
    });
}

/// Where all tokens choose one expert, the rows are the tokens, and all other experts have none.
pub fn one_expert_takes_every_token<B: Experts>(backend: &B, _: Tolerance) {
    for tokens in [0, 1, 5] {
        let case =
            Case { gate: first_of(3), logits: vec![vec![0.0, 9.0, 0.0]; tokens], bias: None };
        let x: Vec<B::Scalar> = Values::new(4).draw(tokens * DIM);
        let routing = done(case.route(backend));
        assert_eq!(done(backend.host_routing(&routing)).experts(), vec![1; tokens]);
        let input = done(backend.upload(&x, &[tokens, DIM]));
        let rows = done(backend.dispatch(&input, &routing));
        assert_same_bits(&done(backend.download(&rows)), &x);
        // The weight of the only expert is exactly 1.
        assert_same_bits(&download(backend, backend.combine(&rows, &routing)), &x);
    }
}

/// A token's sum has the same bits alone as in a batch.
pub fn a_token_alone_is_combined_as_in_a_batch<B: Experts>(backend: &B, _: Tolerance) {
    for_all(cases(), |case| {
        let tokens = case.logits.len();
        let x: Vec<B::Scalar> = Values::new(5).draw(tokens * DIM);
        let through = |case: &Case, x: &[B::Scalar]| {
            let routing = done(case.route(backend));
            let shape = [case.logits.len(), DIM];
            let x = done(backend.upload(x, &shape));
            let rows = done(backend.dispatch(&x, &routing));
            download(backend, backend.combine(&rows, &routing))
        };
        let alone: Vec<B::Scalar> =
            (0..tokens).flat_map(|t| through(&case.part(t..t + 1), &x[t * DIM..][..DIM])).collect();
        assert_same_bits(&alone, &through(&case, &x));
    });
}

/// Arrays of another number of tokens or rows than the routing's are refused.
pub fn wrong_shapes_are_errors<B: Experts>(backend: &B, _: Tolerance) {
    let case = Case { gate: first_of(2), logits: vec![vec![0.0; 2]; 3], bias: None };
    let routing = done(case.route(backend));
    for shape in [&[2, 3][..], &[6], &[3, 2, 1]] {
        let x = upload(backend, &[0.0; 6], shape);
        assert!(matches!(backend.dispatch(&x, &routing), Err(MoeError::Kernel(_))), "{shape:?}");
        assert!(matches!(backend.combine(&x, &routing), Err(MoeError::Kernel(_))), "{shape:?}");
    }
}

fn first_of(n_routed_experts: usize) -> GateConfig {
    GateConfig {
        n_routed_experts,
        num_experts_per_tok: 1,
        scoring_func: ScoringFunc::Sigmoid,
        topk_method: TopkMethod::Greedy,
        norm_topk_prob: true,
        routed_scaling_factor: 1.0,
    }
}
