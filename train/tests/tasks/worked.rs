//! Worked solutions are right in every step.

use latent_train::tasks::{Part, Problem};

use crate::{KINDS, numbers, problems, task};

/// The value of a side of an equation: numbers with one of `+ - * /` between them, from the left, where
/// products bind first and brackets are not looked into.
fn side(text: &str) -> u128 {
    let products =
        |text: &str| text.split('*').map(|n| n.parse::<u128>().unwrap()).product::<u128>();
    if let Some((a, b)) = text.split_once('-') {
        return products(a) - products(b);
    }
    if let Some((a, b)) = text.split_once('/') {
        assert_eq!(products(a) % products(b), 0, "{text}");
        return products(a) / products(b);
    }
    text.split('+').map(products).sum()
}

fn last_value(problem: &Problem) -> &str {
    problem.worked().unwrap().rsplit(['=', ' ']).next().unwrap()
}

#[test]
fn every_step_holds() {
    for settings in KINDS {
        for problem in problems(&task(settings), 200) {
            for step in problem.worked().unwrap().lines() {
                let (left, right) = step.split_once('=').unwrap();
                if left.contains('(') {
                    // The answer itself, which other tests hold to its value.
                    continue;
                }
                let right = right.split(" write").next().unwrap();
                assert_eq!(side(left), side(right), "{step} of {}", problem.question);
            }
        }
    }
}

#[test]
fn the_last_step_ends_with_the_value() {
    for settings in KINDS {
        for problem in problems(&task(settings), 200) {
            if problem.task == "countdown" {
                assert_eq!(last_value(&problem).parse(), Ok(numbers(&problem.question)[0]));
                let ends = format!("{}={}", problem.answer, last_value(&problem));
                let last = problem.worked().unwrap().lines().last().unwrap();
                assert!(last == ends, "{last} is not {ends}");
            } else {
                assert_eq!(last_value(&problem), problem.answer, "{:?}", problem.worked());
            }
        }
    }
}

#[test]
fn what_is_written_and_carried_makes_the_sum() {
    for problem in problems(&task("kind.addition = { max_digits = 18 }"), 300) {
        let mut written = String::new();
        let mut carried = 0;
        let steps: Vec<&str> = problem.worked().unwrap().lines().collect();
        for step in &steps[..steps.len() - 1] {
            let found = numbers(step);
            let (left, _) = step.split_once('=').unwrap();
            // Two digits and what was carried, where it is not 0.
            assert_eq!(numbers(left).get(2).copied().unwrap_or(0), carried);
            let (_, rest) = step.split_once("write ").unwrap();
            carried = if rest.contains("carry") { found[found.len() - 1] } else { 0 };
            written.insert_str(0, rest.split(' ').next().unwrap());
        }
        assert_eq!(written, problem.answer, "{}", problem.question);
    }
}

#[test]
fn solutions_look_as_they_are_said_to() {
    for (kind, question, wanted) in [
        ("addition", "78+85=?", "8+5=13 write 3 carry 1, 7+8+1=16 write 16, 78+85=163"),
        ("addition", "85+78=?", "5+8=13 write 3 carry 1, 8+7+1=16 write 16, 85+78=163"),
        ("multiplication", "47*36=?", "47*6=282, 47*30=1410, 282+1410=1692"),
        ("multiplication", "36*40=?", "36*40=1440"),
        ("gcd", "gcd(48,18)=?", "48=2*18+12, 18=1*12+6, 12=2*6+0, gcd(48,18)=6"),
        ("gcd", "gcd(18,48)=?", "18=0*48+18, 48=2*18+12, 18=1*12+6, 12=2*6+0, gcd(18,48)=6"),
    ] {
        // Each pair stands in one order, by the seed.
        let found = (0..64).find_map(|seed| {
            let task =
                task(&format!("kind.{kind} = {{ min_digits = 2, max_digits = 2 }}\nseed = {seed}"));
            let mut all = (0..task.count(Part::Train) as u64).map(|i| task.problem(i, Part::Train));
            all.find(|problem| problem.question == question)
        });
        assert_eq!(found.unwrap().worked().unwrap().replace('\n', ", "), wanted);
    }
}
