//! No problem is in both parts.

use std::collections::BTreeSet;

use latent_train::tasks::{Part, Task};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::{error, numbers, task};

/// What makes a problem the same as another: its numbers, without the target and without an order.
fn canonical(task: &Task, part: Part, index: u64) -> Vec<u128> {
    let problem = task.problem(index, part);
    let mut found = numbers(&problem.question);
    if problem.task == "countdown" {
        found.remove(0);
    }
    found.sort_unstable();
    found
}

fn all(task: &Task, part: Part) -> Vec<Vec<u128>> {
    (0..task.count(part) as u64).map(|index| canonical(task, part, index)).collect()
}

/// The multisets of `count` numbers from `low` to `high`.
fn multisets(count: usize, low: u128, high: u128) -> BTreeSet<Vec<u128>> {
    if count == 0 {
        return [Vec::new()].into();
    }
    let rest = multisets(count - 1, low, high);
    let with = |more: &Vec<u128>| {
        let least = more.last().copied().unwrap_or(low);
        let longer = |n| more.iter().copied().chain([n]).collect::<Vec<_>>();
        (least..=high).map(longer).collect::<Vec<_>>()
    };
    rest.iter().flat_map(with).collect()
}

#[test]
fn small_spaces_are_divided_without_a_rest() {
    for (settings, count, high) in [
        ("kind.sum = { terms = 3 }", 3, 9),
        ("kind.sum = { terms = 2, max_digits = 2 }", 2, 99),
        ("kind.addition = { max_digits = 2 }", 2, 99),
        ("kind.multiplication = { max_digits = 1 }", 2, 9),
        ("kind.gcd = { max_digits = 2, min_answer = 1 }", 2, 99),
    ] {
        for more in ["seed = 1\nheld_out = 0.1", "seed = 2\nheld_out = 0.5", "held_out = 0.001"] {
            let more = format!("{settings}\n{more}");
            // Less than all would be held out, of 4950 a half.
            let (space, config) =
                (multisets(count, 1, high), format!("{more}\nheld_out_problems = 1"));
            let task_of_one = task(&config);
            assert_eq!(task_of_one.count(Part::HeldOut), 1);
            let task = task(&more);
            let (train, held_out) = (all(&task, Part::Train), all(&task, Part::HeldOut));
            let union: BTreeSet<Vec<u128>> = train.iter().chain(&held_out).cloned().collect();
            // Each is there once, so none is in both.
            assert_eq!(union.len(), train.len() + held_out.len(), "{more}");
            assert!(union.is_subset(&space) && !held_out.is_empty());
            // Without a number that is asked for, no more are kept.
            if held_out.len() < 500 {
                assert_eq!(union, space, "{more}");
            }
        }
    }
}

#[test]
fn the_share_that_is_held_out_is_the_one_that_is_asked_for() {
    for (share, count) in [(0.1, 17), (0.5, 83), (0.9, 149), (0.000_1, 1), (0.999_9, 164)] {
        let task = task(&format!("kind.sum = {{ terms = 3 }}\nheld_out = {share}"));
        assert_eq!((task.count(Part::HeldOut), task.count(Part::Train)), (count, 165 - count));
    }
}

#[test]
fn held_out_problems_are_like_the_others() {
    let task = task("kind.sum = { terms = 2, max_digits = 2 }\nheld_out = 0.1");
    let mean = |part| {
        let answers = (0..task.count(part) as u64).map(|i| task.problem(i, part).answer);
        let answers: Vec<f64> = answers.map(|a| a.parse().unwrap()).collect();
        answers.iter().sum::<f64>() / answers.len() as f64
    };
    // One of 495 has a standard deviation of 1.8.
    assert!((mean(Part::Train) - mean(Part::HeldOut)).abs() < 9.0);
}

#[test]
fn indices_behind_the_last_begin_again() {
    let task = task("kind.sum = { terms = 2 }");
    let count = task.count(Part::Train) as u64;
    assert_eq!(task.problem(count + 3, Part::Train), task.problem(3, Part::Train));
    assert_eq!(task.problem(u64::MAX, Part::HeldOut).task, "sum");
}

#[test]
fn too_few_problems_are_an_error_that_names_the_settings() {
    assert_eq!(
        error("kind.sum = { terms = 2 }\ntrain_problems = 100"),
        "task.train_problems: found 100, want at most 40: task.kind.sum.terms, min_digits and \
         max_digits give no more different problems to train on"
    );
    assert_eq!(
        error("kind.addition = { max_digits = 1 }\nheld_out_problems = 6"),
        "task.held_out_problems: found 6, want at most 5: task.kind.addition.min_digits and \
         max_digits give no more different problems to hold out"
    );
    assert_eq!(
        error("kind.gcd = { max_digits = 18, min_answer = 999_999_999_999_999_999 }"),
        "task.held_out_problems: found no number, want at least one problem to hold out: \
         task.kind.gcd.min_digits, max_digits and min_answer give none"
    );
    assert!(error("kind.countdown = { numbers = 2, max_number = 1 }").contains("give none"));
    assert_eq!(task("kind.sum = { terms = 2 }\ntrain_problems = 40").count(Part::Train), 40);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_problem_is_in_both_parts(
        kind in 0..5_usize,
        // TOML has no whole numbers above 2^63.
        seed in 0..u64::MAX / 2,
        share in 0.1..0.9_f64,
        digits in 2..4_u32,
        terms in 2..6_usize,
    ) {
        let kind = match kind {
            0 => format!("kind.sum = {{ terms = {terms}, max_digits = {digits} }}"),
            1 => format!("kind.addition = {{ max_digits = {digits} }}"),
            2 => format!("kind.multiplication = {{ max_digits = {digits} }}"),
            3 => format!("kind.gcd = {{ max_digits = {digits} }}"),
            _ => format!("kind.countdown = {{ numbers = {terms} }}"),
        };
        let settings = format!("{kind}\nseed = {seed}\nheld_out = {share}");
        let few = task(&format!("{settings}\ntrain_problems = 3\nheld_out_problems = 1"));
        let many = task(&settings);
        let (train, held_out) = (all(&many, Part::Train), all(&many, Part::HeldOut));
        let union: BTreeSet<&Vec<u128>> = train.iter().chain(&held_out).collect();
        prop_assert_eq!(union.len(), train.len() + held_out.len());
        // How many are asked for moves none to the other part.
        prop_assert_eq!(&all(&few, Part::Train)[..], &train[..3]);
        prop_assert_eq!(&all(&few, Part::HeldOut)[..], &held_out[..1]);
    }
}
