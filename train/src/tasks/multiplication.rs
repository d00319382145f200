//! Multiplication of two long numbers: `47*36=?`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::generator::{Generator, space};
use super::multisets::Multisets;
use super::{Problem, digits};
use crate::config::TrainConfigError;
use crate::random::reorder;

/// Settings of multiplications. `a*b` and `b*a` are one problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MultiplicationConfig {
    /// The fewest digits of a number.
    pub min_digits: u32,
    /// The most digits of a number, at most 18.
    pub max_digits: u32,
}

impl Default for MultiplicationConfig {
    fn default() -> Self {
        Self { min_digits: 1, max_digits: 2 }
    }
}

#[derive(Debug)]
pub(super) struct Multiplication {
    space: Multisets,
}

impl Multiplication {
    pub(super) fn new(config: &MultiplicationConfig) -> Result<Self, TrainConfigError> {
        let numbers = digits::numbers(
            ("task.kind.multiplication.min_digits", config.min_digits),
            ("task.kind.multiplication.max_digits", config.max_digits),
        )?;
        Ok(Self { space: space("task.kind.multiplication.max_digits", 2, numbers)? })
    }
}

impl Generator for Multiplication {
    fn settings(&self) -> &'static str {
        "task.kind.multiplication.min_digits and max_digits"
    }

    fn space(&self) -> &Multisets {
        &self.space
    }

    fn problem(&self, mut numbers: Vec<u64>, stream: &mut ChaCha8Rng) -> Option<Problem> {
        reorder(&mut numbers, stream);
        let [a, b] = numbers[..] else { return None };
        let (a, b) = (u128::from(a), u128::from(b));
        Some(Problem::numeric("multiplication", format!("{a}*{b}=?"), a * b, &partial(a, b)))
    }
}

/// The products by each digit that is not 0, from the right, and their sums one by one.
fn partial(a: u128, b: u128) -> Vec<String> {
    let digits = b.to_string();
    let powers = (0..).map(|power| 10_u128.pow(power));
    let parts = digits.bytes().rev().zip(powers);
    let parts = parts.map(|(digit, power)| u128::from(digit - b'0') * power);
    let parts: Vec<u128> = parts.filter(|&part| part > 0).collect();
    let mut steps: Vec<String> =
        parts.iter().map(|part| format!("{a}*{part}={}", a * part)).collect();
    let mut total = a * parts[0];
    for part in &parts[1..] {
        let (before, product) = (total, a * part);
        total += product;
        steps.push(format!("{before}+{product}={total}"));
    }
    steps
}
