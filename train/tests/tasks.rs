//! Problems have right answers, worked solutions that are right, and one part each.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "tasks/examples.rs"]
mod examples;
#[path = "tasks/examples_settings.rs"]
mod examples_settings;
#[path = "tasks/jsonl.rs"]
mod jsonl;
#[path = "rewards/page.rs"]
#[expect(dead_code, reason = "other tests read the rest of the page")]
mod page;
#[path = "tasks/parts.rs"]
mod parts;
#[path = "tasks/worked.rs"]
mod worked;

use latent_train::tasks::{Part, Problem, Task, TaskConfig};

/// Settings of every task that makes its problems.
const KINDS: [&str; 9] = [
    "kind.sum = {}",
    "kind.sum = { terms = 7, min_digits = 2, max_digits = 3 }",
    "kind.addition = {}",
    "kind.addition = { min_digits = 5, max_digits = 18 }",
    "kind.multiplication = { max_digits = 4 }",
    "kind.multiplication = { min_digits = 17, max_digits = 18 }",
    "kind.gcd = {}",
    "kind.countdown = { numbers = 4, max_number = 50, max_target = 300 }",
    "kind.countdown = { numbers = 6, use_all = false }",
];

fn task(settings: &str) -> Task {
    Task::new(&toml::from_str::<TaskConfig>(settings).unwrap()).unwrap()
}

fn error(settings: &str) -> String {
    Task::new(&toml::from_str::<TaskConfig>(settings).unwrap()).unwrap_err().to_string()
}

/// The first problems of both parts.
fn problems(task: &Task, each: u64) -> Vec<Problem> {
    let of = |part| (0..each).map(move |index| task.problem(index, part));
    of(Part::Train).chain(of(Part::HeldOut)).collect()
}

/// The numbers of a text, in the order in which they stand.
fn numbers(text: &str) -> Vec<u128> {
    let parts = text.split(|c: char| !c.is_ascii_digit());
    parts.filter(|part| !part.is_empty()).map(|part| part.parse().unwrap()).collect()
}

#[test]
fn a_problem_asks_and_knows_the_answer() {
    for settings in KINDS {
        for problem in problems(&task(settings), 200) {
            let asked = numbers(&problem.question);
            let expected = match problem.task {
                "sum" | "addition" => asked.iter().sum(),
                "multiplication" => asked.iter().product(),
                "gcd" => (1..=asked[0].min(asked[1]))
                    .rfind(|d| asked.iter().all(|n| n % d == 0))
                    .unwrap(),
                _ => {
                    assert!(problem.matches(&problem.answer), "{problem:?}");
                    continue;
                }
            };
            assert_eq!(problem.answer, expected.to_string(), "{}", problem.question);
            assert!(problem.matches(&format!(" {expected}.0\n")));
            assert!(!problem.matches(&(expected + 1).to_string()));
            assert!(!problem.matches(&format!("{expected} or 7")));
        }
    }
}

#[test]
fn questions_look_as_they_are_said_to() {
    for (settings, signs) in [
        ("kind.sum = {}", "+++=?"),
        ("kind.addition = {}", "+=?"),
        ("kind.multiplication = {}", "*=?"),
        ("kind.gcd = {}", "gcd(,)=?"),
        ("kind.countdown = {}", "make  from   "),
    ] {
        let question = task(settings).problem(0, Part::Train).question;
        let found: String = question.chars().filter(|c| !c.is_ascii_digit()).collect();
        assert_eq!(found, signs);
    }
}

#[test]
fn digits_are_those_that_are_asked_for() {
    let task = task("kind.addition = { min_digits = 2, max_digits = 3 }");
    let lengths = |problem: &Problem| {
        let found: Vec<usize> =
            numbers(&problem.question).iter().map(|n| n.to_string().len()).collect();
        found
    };
    let all: Vec<usize> = problems(&task, 300).iter().flat_map(lengths).collect();
    assert!(all.contains(&2) && all.contains(&3) && all.iter().all(|n| (2..=3).contains(n)));
}

#[test]
fn an_answer_to_countdown_is_held_to_its_numbers_and_its_target() {
    let all = task("kind.countdown = { numbers = 3 }").problem(0, Part::Train);
    let asked = numbers(&all.question);
    let (target, given) = (asked[0], &asked[1..]);
    let sum = |numbers: &[u128]| numbers.iter().map(u128::to_string).collect::<Vec<_>>().join("+");
    for wrong in [
        target.to_string(),
        format!("{}={target}", all.answer),
        format!("{}+0", all.answer),
        format!("{0}-{0}+{0}", all.answer),
        format!("({})*1", all.answer),
        sum(given) + "+1000",
        String::new(),
        "(".repeat(1 << 20),
    ] {
        assert!(!all.matches(&wrong), "{wrong:.40} for {}", all.question);
    }
    assert!(all.matches(&format!(" ( {} ) ", all.answer)));
}

#[test]
fn a_target_is_none_of_the_numbers_and_no_larger_than_is_asked_for() {
    for settings in ["", ", use_all = false", ", max_number = 5", ", max_target = 7"] {
        let task =
            task(&format!("kind.countdown = {{ numbers = 4{settings} }}\ntrain_problems = 40"));
        for problem in problems(&task, 40) {
            let asked = numbers(&problem.question);
            let most = if settings.contains("max_target") { 7 } else { 100 };
            assert!(!asked[1..].contains(&asked[0]) && (1..=most).contains(&asked[0]), "{asked:?}");
        }
    }
}

#[test]
fn at_most_once_leaves_numbers_out_and_exactly_once_does_not() {
    let (mut left_out, mut used) = (0, 0);
    for (settings, count) in [
        ("kind.countdown = { numbers = 5, use_all = false }", &mut left_out),
        ("kind.countdown = { numbers = 5 }", &mut used),
    ] {
        for problem in problems(&task(settings), 100) {
            let mut given = numbers(&problem.question)[1..].to_vec();
            let answer = numbers(&problem.answer);
            for number in &answer {
                given.swap_remove(given.iter().position(|n| n == number).unwrap());
            }
            *count += given.len();
        }
    }
    assert!(left_out > 0);
    assert_eq!(used, 0);
}

#[test]
fn always_to_say_one_is_seldom_right_of_a_gcd() {
    let one = problems(&task("kind.gcd = {}"), 400).iter().filter(|p| p.answer == "1").count();
    assert_eq!(one, 0);
    let all = problems(&task("kind.gcd = { min_answer = 1 }"), 400);
    let one = all.iter().filter(|p| p.answer == "1").count();
    // 6/π² of 800 is 486, with a standard deviation of 14.
    assert!((416..556).contains(&one), "{one}");
}

#[test]
fn the_same_seed_has_the_same_problems_and_another_has_others() {
    let of = |seed| problems(&task(&format!("kind.sum = {{ max_digits = 2 }}\nseed = {seed}")), 20);
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    let questions: Vec<String> = of(1).into_iter().take(3).map(|p| p.question).collect();
    // By the formulas, with other implementations of ChaCha8 and of the ranks.
    assert_eq!(questions, ["51+36+56+61=?", "32+9+30+95=?", "67+25+55+89=?"]);
}

#[test]
fn settings_out_of_range_are_named() {
    for (settings, wanted) in [
        ("kind.sum = { terms = 1 }", "task.kind.sum.terms: found 1, want from 2 to 16"),
        ("kind.sum = { terms = 17 }", "task.kind.sum.terms: found 17, want from 2 to 16"),
        (
            "kind.sum = { terms = 16, max_digits = 18 }",
            "task.kind.sum.terms: found 16, want fewer than 2^120 problems, so less with numbers \
             up to 999999999999999999",
        ),
        ("kind.sum = { max_digits = 19 }", "task.kind.sum.max_digits: found 19, want from 1 to 18"),
        (
            "kind.addition = { min_digits = 4 }",
            "task.kind.addition.min_digits: found 4, want from 1 to max_digits, 3",
        ),
        (
            "kind.multiplication = { min_digits = 0 }",
            "task.kind.multiplication.min_digits: found 0, want from 1 to max_digits, 2",
        ),
        (
            "kind.gcd = { min_answer = 1000 }",
            "task.kind.gcd.min_answer: found 1000, want from 1 to 999, the largest number",
        ),
        (
            "kind.countdown = { numbers = 7 }",
            "task.kind.countdown.numbers: found 7, want from 2 to 6",
        ),
        (
            "kind.countdown = { max_number = 0 }",
            "task.kind.countdown.max_number: found 0, want from 1 to 1000",
        ),
        (
            "kind.countdown = { max_target = 0 }",
            "task.kind.countdown.max_target: found 0, want from 1 to 1000000",
        ),
        ("kind.sum = {}\nheld_out = 1.0", "task.held_out: found 1, want above 0 and below 1"),
        ("kind.sum = {}\nheld_out = nan", "task.held_out: found NaN, want above 0 and below 1"),
        (
            "kind.sum = {}\ntrain_problems = 0",
            "task.train_problems: found 0, want from 1 to 10000000, or no such key",
        ),
        (
            "kind.sum = {}\nheld_out_problems = 10000001",
            "task.held_out_problems: found 10000001, want from 1 to 10000000, or no such key",
        ),
    ] {
        assert_eq!(error(settings), wanted);
    }
    for unknown in ["kind.sum = { digits = 3 }", "kind.sum = {}\ncolour = 1", "kind.chess = {}"] {
        let error = toml::from_str::<TaskConfig>(unknown).unwrap_err().to_string();
        assert!(error.contains("unknown"), "{error}");
    }
}
