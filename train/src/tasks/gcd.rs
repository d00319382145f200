//! Greatest common divisors: `gcd(48,18)=?`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::generator::{Generator, space};
use super::multisets::Multisets;
use super::{Problem, digits};
use crate::config::{TrainConfigError, want};
use crate::random::reorder;
use crate::rational::gcd;

/// Settings of greatest common divisors. `gcd(a,b)` and `gcd(b,a)` are one problem.
///
/// Of two numbers that are drawn, 61 in 100 have no common divisor but 1 (`6/π²`), so that always to
/// say 1 would be right more often than not. With `min_answer = 2` the most frequent answer is 2, of
/// 39 in 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GcdConfig {
    /// The fewest digits of a number.
    pub min_digits: u32,
    /// The most digits of a number, at most 18.
    pub max_digits: u32,
    /// The least answer: pairs with a smaller one are passed over.
    pub min_answer: u64,
}

impl Default for GcdConfig {
    fn default() -> Self {
        Self { min_digits: 1, max_digits: 3, min_answer: 2 }
    }
}

#[derive(Debug)]
pub(super) struct Gcd {
    space: Multisets,
    min_answer: u64,
}

impl Gcd {
    pub(super) fn new(config: &GcdConfig) -> Result<Self, TrainConfigError> {
        let numbers = digits::numbers(
            ("task.kind.gcd.min_digits", config.min_digits),
            ("task.kind.gcd.max_digits", config.max_digits),
        )?;
        let (min_answer, most) = (config.min_answer, *numbers.end());
        let wanted = format!("from 1 to {most}, the largest number");
        want((1..=most).contains(&min_answer), "task.kind.gcd.min_answer", min_answer, wanted)?;
        Ok(Self { space: space("task.kind.gcd.max_digits", 2, numbers)?, min_answer })
    }
}

impl Generator for Gcd {
    fn settings(&self) -> &'static str {
        "task.kind.gcd.min_digits, max_digits and min_answer"
    }

    fn space(&self) -> &Multisets {
        &self.space
    }

    fn problem(&self, mut numbers: Vec<u64>, stream: &mut ChaCha8Rng) -> Option<Problem> {
        reorder(&mut numbers, stream);
        let [a, b] = numbers[..] else { return None };
        let answer = gcd(a.into(), b.into());
        if answer < self.min_answer.into() {
            return None;
        }
        let mut steps = euclid(a, b);
        steps.push(format!("gcd({a},{b})={answer}"));
        Some(Problem::numeric("gcd", format!("gcd({a},{b})=?"), answer, &steps))
    }
}

/// The divisions with remainder, down to the remainder 0.
fn euclid(mut a: u64, mut b: u64) -> Vec<String> {
    let mut steps = Vec::new();
    while b != 0 {
        let (quotient, rest) = (a / b, a % b);
        steps.push(format!("{a}={quotient}*{b}+{rest}"));
        (a, b) = (b, rest);
    }
    steps
}
