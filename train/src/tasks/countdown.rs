//! Countdown: to reach a number with given ones and `+ - * /`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Problem;
use super::expression::Expression;
use super::generator::{Generator, space};
use super::multisets::Multisets;
use super::problem::Rule;
use crate::config::{TrainConfigError, want};
use crate::random::{below, reorder};
use crate::rational::Rational;

/// How often a target is drawn for the same numbers before they are passed over.
const DRAWS: usize = 100;

/// Settings of countdown. The same numbers, in whatever order, are one problem with one target.
///
/// Targets are reached by a solution that is drawn, through whole numbers above 0 alone; an answer may
/// go through fractions and below 0. A target is never one of the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CountdownConfig {
    /// How many numbers are given, from 2 to 6.
    pub numbers: usize,
    /// The largest of them, at most 1000; the least is 1.
    pub max_number: u64,
    /// The largest target, at most a million; the least is 1.
    pub max_target: u64,
    /// Whether an answer uses each number exactly once, or else at most once.
    pub use_all: bool,
}

impl Default for CountdownConfig {
    fn default() -> Self {
        Self { numbers: 3, max_number: 20, max_target: 100, use_all: true }
    }
}

#[derive(Debug)]
pub(super) struct Make {
    space: Multisets,
    max_target: u64,
    use_all: bool,
}

impl Make {
    pub(super) fn new(config: &CountdownConfig) -> Result<Self, TrainConfigError> {
        let &CountdownConfig { numbers, max_number, max_target, use_all } = config;
        want((2..=6).contains(&numbers), "task.kind.countdown.numbers", numbers, "from 2 to 6")?;
        let (field, wanted) = ("task.kind.countdown.max_number", "from 1 to 1000");
        want((1..=1000).contains(&max_number), field, max_number, wanted)?;
        let (field, wanted) = ("task.kind.countdown.max_target", "from 1 to 1000000");
        want((1..=1_000_000).contains(&max_target), field, max_target, wanted)?;
        let space = space("task.kind.countdown.numbers", numbers, 1..=max_number)?;
        Ok(Self { space, max_target, use_all })
    }
}

impl Generator for Make {
    fn settings(&self) -> &'static str {
        "task.kind.countdown.numbers, max_number and max_target"
    }

    fn space(&self) -> &Multisets {
        &self.space
    }

    fn problem(&self, mut numbers: Vec<u64>, stream: &mut ChaCha8Rng) -> Option<Problem> {
        reorder(&mut numbers, stream);
        let fits =
            |solved: &Solved| solved.value <= self.max_target && !numbers.contains(&solved.value);
        let found = (0..DRAWS).find_map(|_| solution(&numbers, self.use_all, stream).filter(fits));
        let Solved { value: target, text: answer, mut steps } = found?;
        if steps.len() > 1 {
            steps.push(format!("{answer}={target}"));
        }
        let given: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let question = format!("make {target} from {}", given.join(" "));
        numbers.sort_unstable();
        let rule = Rule::Countdown(Countdown { numbers, target, use_all: self.use_all });
        Some(Problem { task: "countdown", question, answer, rule, worked: Some(steps.join("\n")) })
    }
}

/// A way to a number.
struct Solved {
    value: u64,
    text: String,
    steps: Vec<String>,
}

/// A way that is drawn: two numbers at a time are joined until one is left.
fn solution(numbers: &[u64], use_all: bool, stream: &mut ChaCha8Rng) -> Option<Solved> {
    let mut rest: Vec<(u64, String)> = numbers.iter().map(|n| (*n, n.to_string())).collect();
    reorder(&mut rest, stream);
    if !use_all {
        rest.truncate(2 + below(stream, numbers.len() - 1));
    }
    let mut steps = Vec::new();
    while rest.len() > 1 {
        let (b, b_text) = rest.swap_remove(below(stream, rest.len()));
        let (a, a_text) = rest.swap_remove(below(stream, rest.len()));
        let (sign, value) = match below(stream, 4) {
            0 => ('+', a.checked_add(b)?),
            1 => ('-', a.checked_sub(b).filter(|&difference| difference > 0)?),
            2 => ('*', a.checked_mul(b)?),
            _ => ('/', a.checked_div(b).filter(|quotient| quotient * b == a)?),
        };
        steps.push(format!("{a}{sign}{b}={value}"));
        rest.push((value, format!("{}{sign}{}", bracketed(&a_text), bracketed(&b_text))));
    }
    rest.pop().map(|(value, text)| Solved { value, text, steps })
}

/// The text of a number as it is, that of an expression in brackets.
fn bracketed(text: &str) -> String {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.into() } else { format!("({text})") }
}

/// What an answer is held to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Countdown {
    /// In rising order.
    numbers: Vec<u64>,
    target: u64,
    use_all: bool,
}

impl Countdown {
    /// An expression that is drawn as a solution is, whatever it comes to.
    pub(super) fn guess(&self, stream: &mut ChaCha8Rng) -> String {
        let found = (0..DRAWS).find_map(|_| solution(&self.numbers, self.use_all, stream));
        // That so many ways leave the whole numbers above 0 is rare; sums never do.
        let sum = || self.numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("+");
        found.map_or_else(sum, |solved| solved.text)
    }

    pub(super) fn solved_by(&self, answer: &str) -> bool {
        let Some(Expression { value, numbers: mut used }) = Expression::read(answer) else {
            return false;
        };
        used.sort_unstable();
        let allowed = if self.use_all {
            used == self.numbers
        } else {
            let mut given = self.numbers.iter();
            used.iter().all(|number| given.any(|n| n == number))
        };
        allowed && value == Rational::whole(self.target.into())
    }
}
