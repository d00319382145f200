//! Routings, their order by expert, and the way back.

use latent_moe::kernels::{Backend, Reference};
use latent_moe::{Dispatch, Experts, Routing};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

#[test]
fn rows_of_an_expert_keep_the_order_of_tokens() {
    let routing = Routing::new(4, 2, vec![1, 3, 0, 1, 1, 3], vec![1., 2., 3., 4., 5., 6.]).unwrap();
    let dispatch = Dispatch::new(&routing);
    assert_eq!(dispatch.offsets(), [0, 1, 4, 4, 6]);
    assert_eq!(dispatch.tokens(), [1, 0, 1, 2, 0, 2]);
    assert_eq!(dispatch.weights(), [3., 1., 4., 5., 2., 6.]);
    assert_eq!(dispatch.rows_of_expert(2), 4..4);
    assert_eq!(dispatch.rows_of_token(2), [3, 5]);
}

#[test]
fn no_tokens_give_no_rows() {
    let routing = Routing::new(3, 2, vec![], vec![]).unwrap();
    let dispatch = Dispatch::new(&routing);
    assert_eq!(dispatch.offsets(), [0; 4]);
    assert!(dispatch.tokens().is_empty());
    let cpu = Reference::<f64>::new();
    let x = cpu.upload(&[], &[0, 5]).unwrap();
    let rows = cpu.dispatch(&x, &routing).unwrap();
    assert_eq!(cpu.combine(&rows, &routing).unwrap().shape(), [0, 5]);
}

#[test]
fn a_token_is_summed_in_ascending_expert_id() {
    // In f32 another order loses the 1: (1e8 - 1e8) + 1 is 1, and (1 + 1e8) - 1e8 is 0.
    let routing = Routing::new(3, 3, vec![0, 1, 2], vec![1.0; 3]).unwrap();
    let cpu = Reference::<f32>::new();
    let rows = cpu.upload(&[1e8, -1e8, 1.0], &[3, 1]).unwrap();
    assert_eq!(cpu.download(&cpu.combine(&rows, &routing).unwrap()).unwrap(), [1.0]);
}

#[test]
fn choices_that_are_none_are_errors() {
    let message = |n, k, experts: &[usize], weights: usize| {
        Routing::new(n, k, experts.to_vec(), vec![1.0; weights]).unwrap_err().to_string()
    };
    assert_eq!(message(2, 0, &[], 0), "routing: num_experts_per_tok 0, want at least 1");
    assert_eq!(
        message(4, 2, &[0, 1, 2], 3),
        "routing: number of experts 3, want a multiple of num_experts_per_tok 2"
    );
    assert_eq!(
        message(4, 2, &[0, 1], 1),
        "routing: number of weights 1, want one for each of 2 experts"
    );
    for row in [[2, 1], [1, 1], [1, 4]] {
        let wanted = format!("routing: experts {row:?}, want ascending ids below 4 at token 1");
        assert_eq!(message(4, 2, &[0, 1, row[0], row[1]], 4), wanted);
    }
}

/// Routings of up to 9 tokens to 1 to 6 experts.
fn routings() -> impl Strategy<Value = Routing> {
    (1..=6_usize)
        .prop_flat_map(|n| (Just(n), 1..=n))
        .prop_flat_map(|(n, k)| {
            let row = prop::sample::subsequence((0..n).collect::<Vec<_>>(), k);
            (Just((n, k)), prop::collection::vec(row, 0..9))
        })
        .prop_map(|((n, k), rows)| {
            let experts = rows.concat();
            let weights = (0..experts.len()).map(|i| i as f64).collect();
            Routing::new(n, k, experts, weights).expect("subsequences are ascending")
        })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_choice_has_one_row_of_its_expert(routing in routings()) {
        let dispatch = Dispatch::new(&routing);
        let mut seen = vec![false; routing.experts().len()];
        for token in 0..routing.tokens() {
            let (experts, weights) = routing.token(token);
            for ((&row, expert), &weight) in
                dispatch.rows_of_token(token).iter().zip(experts).zip(weights)
            {
                prop_assert!(dispatch.rows_of_expert(*expert).contains(&row));
                prop_assert_eq!(dispatch.tokens()[row], token);
                prop_assert_eq!(dispatch.weights()[row].to_bits(), weight.to_bits());
                prop_assert!(!std::mem::replace(&mut seen[row], true));
            }
        }
        prop_assert!(seen.iter().all(|&s| s));
        for expert in 0..routing.n_routed_experts() {
            prop_assert!(dispatch.tokens()[dispatch.rows_of_expert(expert)].is_sorted());
        }
    }
}
