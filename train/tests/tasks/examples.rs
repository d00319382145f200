//! Examples are the mixture that is asked for, and say what they are.

use std::collections::{BTreeMap, BTreeSet};

use latent_train::rewards::{Completion, Finish, FormVerdict, Judgement, RewardConfig, Rules};
use latent_train::tasks::{Defect, Example, ExampleKind, Examples, ExamplesConfig, Part};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::page::{rows, text, words};
use crate::{KINDS, numbers, task};

/// A template whose prompts end with `<think>`.
const INSIDE: &str = "{question} <think>";

/// Examples of a task with settings of `[examples]`.
fn examples(task: &str, section: &str) -> Examples {
    let lines: String = task.lines().map(|line| format!("task.{line}\n")).collect();
    let config = ExamplesConfig::from_toml(&format!("{lines}[examples]\n{section}"), &[]);
    Examples::new(&config.unwrap()).unwrap()
}

/// The first examples.
fn first(task: &str, section: &str, count: u64) -> Vec<Example> {
    let examples = examples(task, section);
    (0..count).map(|index| examples.example(index)).collect()
}

fn rules(template: &str) -> Rules {
    RewardConfig { template: template.into(), ..RewardConfig::default() }.rules().unwrap()
}

fn judge<'a>(rules: &Rules, example: &'a Example) -> Judgement<'a> {
    let completion = Completion { text: &example.completion, tokens: 10, finish: Finish::Stop };
    rules.judge(&completion, &example.problem)
}

/// Whether a count is within six standard deviations of a share.
#[track_caller]
fn is_share(count: usize, of: usize, share: f64) {
    let (count, of) = (count as f64, of as f64);
    let far = 6.0 * (of * share * (1.0 - share)).sqrt();
    assert!((count - of * share).abs() <= far, "{count} of {of} for {share}");
}

#[test]
fn shares_are_those_that_are_asked_for() {
    for (section, worked, partial, malformed) in [
        ("", 0.15, 0.15, 0.3),
        ("worked = 3\npartial = 1\nguess = 0\nmalformed = 0", 0.75, 0.25, 0.0),
        ("worked = 0\npartial = 1e308\nguess = 1e308\nmalformed = 1", 0.0, 0.5, 1.0),
        ("worked = 5e-324\npartial = 0\nguess = 0\nmalformed = 0.5", 1.0, 0.0, 0.5),
    ] {
        let all = first("kind.sum = {}", section, 4000);
        let of = |kind| all.iter().filter(|example| example.kind == kind).count();
        is_share(of(ExampleKind::Worked), all.len(), worked);
        is_share(of(ExampleKind::Partial), all.len(), partial);
        is_share(of(ExampleKind::Guess), all.len(), 1.0 - worked - partial);
        let broken: Vec<&Example> = all.iter().filter(|e| e.defect.is_some()).collect();
        is_share(broken.len(), all.len(), malformed);
        // Of each kind alike, and each defect as often.
        let worked_and_broken = broken.iter().filter(|e| e.kind == ExampleKind::Worked).count();
        is_share(worked_and_broken, all.len(), worked * malformed);
        for defect in Defect::ALL {
            let found = broken.iter().filter(|e| e.defect == Some(defect)).count();
            is_share(found, all.len(), malformed / 6.0);
        }
    }
}

#[test]
fn an_example_is_the_same_however_many_there_are() {
    let (few, many) = ("count = 3", "count = 3000");
    let task = "kind.gcd = {}\ntrain_problems = 40";
    assert_eq!(first(task, few, 60), first(task, many, 60));
    assert_eq!(examples(task, few).count(), 3);
    assert_ne!(first(task, "seed = 1", 60), first(task, "seed = 2", 60));
    // Problems begin again, completions do not.
    let all = first(task, "worked = 0\npartial = 0", 80);
    assert_eq!(all[3].problem, all[43].problem);
    assert_ne!(all[..40], all[40..]);
}

#[test]
fn a_broken_form_changes_nothing_else() {
    for kind in KINDS {
        let (sound, broken) = (first(kind, "malformed = 0", 60), first(kind, "malformed = 1", 60));
        for (sound, broken) in sound.iter().zip(&broken) {
            assert_eq!((sound.kind, &sound.problem), (broken.kind, &broken.problem));
            assert_eq!((sound.defect, broken.label()), (None, "malformed"));
            let (thoughts, answer) = parts(sound);
            let table = written(broken.defect.unwrap(), thoughts, answer);
            assert_eq!(broken.completion, table);
        }
    }
}

/// The thoughts and the answer of an example in the right form.
fn parts(example: &Example) -> (&str, &str) {
    let inside = example.completion.strip_prefix("<think>").unwrap();
    let (thoughts, answer) = inside.split_once("</think> <answer>").unwrap();
    (thoughts, answer.strip_suffix("</answer>").unwrap())
}

/// The row of a defect in the book's table.
fn row(defect: Defect) -> Vec<&'static str> {
    let mut rows = rows("Examples").into_iter();
    rows.find(|row| row[0] == defect.to_string()).unwrap()
}

/// A completion with a defect as the book's table writes it.
fn written(defect: Defect, thoughts: &str, answer: &str) -> String {
    text(row(defect)[1]).replace('T', thoughts).replace('A', answer)
}

/// Of all tasks that are made, by all templates.
#[test]
fn malformed_examples_are_judged_malformed_and_no_others() {
    for kind in KINDS {
        for (template, column) in [("tiny", 2), ("r1", 2), (INSIDE, 3)] {
            let rules = rules(template);
            let mut seen = BTreeSet::new();
            for example in first(kind, &format!("template = '{template}'\nmalformed = 0.7"), 120) {
                let form = judge(&rules, &example).form;
                let wanted = example.defect.map_or("correct".into(), |d| words(row(d)[column]));
                assert_eq!(form.to_string(), wanted, "{:?}", example.completion);
                assert_eq!(form == FormVerdict::Correct, example.defect.is_none());
                assert!(example.text().starts_with(&rules.prompt(&example.problem.question)));
                seen.insert(wanted);
            }
            let all = (0..6).map(|i| words(row(Defect::ALL[i])[column])).collect::<BTreeSet<_>>();
            assert_eq!(seen.len(), all.len() + 1, "{seen:?}");
        }
    }
    assert_eq!(rows("Examples").len(), Defect::ALL.len());
}

#[test]
fn worked_examples_are_right_and_earn_the_reward() {
    let rules = rules("tiny");
    for kind in KINDS {
        for example in first(kind, "partial = 0\nguess = 0\nmalformed = 0", 100) {
            let (thoughts, answer) = parts(&example);
            assert_eq!(thoughts, example.problem.worked().unwrap());
            assert_eq!((answer, example.label()), (&*example.problem.answer, "worked"));
            assert!(judge(&rules, &example).reward > 0.999);
        }
    }
}

#[test]
fn what_is_guessed_seldom_earns_anything() {
    let rules = rules("tiny");
    for kind in KINDS {
        let guessed = first(kind, "worked = 0\nmalformed = 0", 1000);
        let right = guessed.iter().filter(|e| judge(&rules, e).reward > 0.0).count();
        // One of eleven at most of a number that is not small; of the least ones one in six.
        assert!(right < 200, "{right} of 1000 for {kind}");
    }
    let sums = first("kind.sum = { terms = 2 }", "worked = 0\nmalformed = 0", 1000);
    assert!(sums.iter().any(|example| judge(&rules, example).reward > 0.0));
}

#[test]
fn partial_examples_stop_after_some_steps() {
    let mut taken = BTreeMap::new();
    for example in first("kind.sum = { terms = 5 }", "worked = 0\nguess = 0\nmalformed = 0", 600) {
        let (thoughts, answer) = parts(&example);
        let (steps, said) = thoughts.rsplit_once('\n').unwrap();
        assert!(example.problem.worked().unwrap().starts_with(&format!("{steps}\n")));
        assert_eq!((said, example.label()), (&*format!("it is {answer}"), "partial"));
        *taken.entry(steps.lines().count()).or_insert(0) += 1;
    }
    assert_eq!(taken.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    taken.values().for_each(|&count| is_share(count, 600, 1.0 / 3.0));
    // There is nothing between one step and none.
    let of_one_step = first("kind.sum = { terms = 2 }", "worked = 0\nguess = 0", 50);
    assert!(of_one_step.iter().all(|example| example.kind == ExampleKind::Guess));
}

#[test]
fn a_guess_of_a_number_is_anywhere_around_it() {
    let section = "worked = 0\npartial = 0\nmalformed = 0";
    for (task, least, most) in [
        ("kind.sum = { terms = 2, max_digits = 3 }", 40_u128, 2000),
        ("kind.gcd = { max_digits = 2 }", 1, 100),
        ("kind.multiplication = { min_digits = 17, max_digits = 18 }", 10_u128.pow(32), u128::MAX),
    ] {
        let mut places = [0_usize; 4];
        let all = first(task, section, 2000);
        let far = |example: &&Example| {
            let answer: u128 = example.problem.answer.parse().unwrap();
            (least..most).contains(&answer)
        };
        for example in all.iter().filter(far) {
            let (thoughts, guess) = parts(example);
            assert_eq!(thoughts, format!("it is {guess}"));
            let (answer, guess): (u128, u128) =
                (example.problem.answer.parse().unwrap(), guess.parse().unwrap());
            let width = (answer / 4).max(5);
            let low = answer.saturating_sub(width).max(1);
            assert!((low..=answer + width).contains(&guess), "{guess} for {answer}");
            places[usize::try_from((guess - low) * 4 / (answer + width - low + 1)).unwrap()] += 1;
        }
        let sum = places.iter().sum::<usize>();
        // Windows of few numbers have quarters that differ, so that bounds are wide.
        assert!(sum > 1000 && places.iter().all(|&n| n * 5 > sum * 4 / 5), "{places:?}");
    }
}

#[test]
fn a_guess_at_countdown_is_an_expression_of_its_numbers() {
    for (settings, all) in [("numbers = 4", true), ("numbers = 4, use_all = false", false)] {
        let mut left_out = 0;
        for example in
            first(&format!("kind.countdown = {{ {settings} }}"), "worked = 0\nmalformed = 0", 200)
        {
            let mut given = numbers(&example.problem.question)[1..].to_vec();
            for number in numbers(parts(&example).1) {
                given.swap_remove(given.iter().position(|&n| n == number).unwrap());
            }
            left_out += given.len();
        }
        assert_eq!(left_out == 0, all);
    }
}

#[test]
fn the_bits_stay() {
    // By the formulas, with another implementation of ChaCha8.
    let task = "kind.sum = { max_digits = 2 }\nseed = 1";
    let found = |seed| first(task, &format!("seed = {seed}"), 3).into_iter().map(|e| e.text());
    let texts: Vec<String> = found(0).chain(found(1)).collect();
    assert_eq!(
        texts,
        [
            "Q: 51+36+56+61=?\nA: <think>it is 159</think> <answer>159</answer>",
            "Q: 32+9+30+95=?\nA: <think>it is 145</think> <answer>145</answer>",
            "Q: 67+25+55+89=?\nA: <think>67+25=92\n92+55=147\nit is 188</think> <answer>188</answer>",
            "Q: 51+36+56+61=?\nA: 51+36=87\n87+56=143\n143+61=204 <answer>204</answer>",
            "Q: 32+9+30+95=?\nA: <think>32+9=41\n41+30=71\n71+95=166</think> <answer>166</answer>",
            "Q: 67+25+55+89=?\nA: <think>67+25=92\n92+55=147\n147+89=236</think> <answer>236</answer>",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_problem_that_is_held_out_is_in_an_example(
        kind in 0..KINDS.len(),
        seed in 0..u64::MAX / 2,
        share in 0.2..0.8_f64,
        count in 1..400_u64,
    ) {
        let settings = format!("{}\nseed = {seed}\nheld_out = {share}", KINDS[kind]);
        let task = task(&settings);
        let canonical = |question: &str| {
            let mut found = numbers(question);
            if question.starts_with("make") {
                found.remove(0);
            }
            found.sort_unstable();
            found
        };
        let held_out = 0..task.count(Part::HeldOut) as u64;
        let held_out: BTreeSet<Vec<u128>> =
            held_out.map(|i| canonical(&task.problem(i, Part::HeldOut).question)).collect();
        for (index, example) in first(&settings, &format!("seed = {seed}"), count).iter().enumerate() {
            prop_assert!(!held_out.contains(&canonical(&example.prompt)));
            prop_assert_eq!(&example.problem, &task.problem(index as u64, Part::Train));
        }
    }
}
