//! Addition of two long numbers: `478+85=?`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::generator::{Generator, space};
use super::multisets::Multisets;
use super::{Problem, digits};
use crate::config::TrainConfigError;
use crate::random::reorder;

/// Settings of additions. `a+b` and `b+a` are one problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdditionConfig {
    /// The fewest digits of a number.
    pub min_digits: u32,
    /// The most digits of a number, at most 18.
    pub max_digits: u32,
}

impl Default for AdditionConfig {
    fn default() -> Self {
        Self { min_digits: 1, max_digits: 3 }
    }
}

#[derive(Debug)]
pub(super) struct Addition {
    space: Multisets,
}

impl Addition {
    pub(super) fn new(config: &AdditionConfig) -> Result<Self, TrainConfigError> {
        let numbers = digits::numbers(
            ("task.kind.addition.min_digits", config.min_digits),
            ("task.kind.addition.max_digits", config.max_digits),
        )?;
        Ok(Self { space: space("task.kind.addition.max_digits", 2, numbers)? })
    }
}

impl Generator for Addition {
    fn settings(&self) -> &'static str {
        "task.kind.addition.min_digits and max_digits"
    }

    fn space(&self) -> &Multisets {
        &self.space
    }

    fn problem(&self, mut numbers: Vec<u64>, stream: &mut ChaCha8Rng) -> Option<Problem> {
        reorder(&mut numbers, stream);
        let [a, b] = numbers[..] else { return None };
        let total = u128::from(a) + u128::from(b);
        let mut steps = columns(a, b);
        steps.push(format!("{a}+{b}={total}"));
        Some(Problem::numeric("addition", format!("{a}+{b}=?"), total, &steps))
    }
}

/// The columns of an addition in writing, from the right.
fn columns(mut a: u64, mut b: u64) -> Vec<String> {
    let mut steps = Vec::new();
    let mut carry = 0;
    loop {
        let (x, y) = (a % 10, b % 10);
        let sum = x + y + carry;
        let carried = if carry > 0 { format!("+{carry}") } else { String::new() };
        (a, b, carry) = (a / 10, b / 10, sum / 10);
        if a == 0 && b == 0 {
            steps.push(format!("{x}+{y}{carried}={sum} write {sum}"));
            return steps;
        }
        steps.push(format!("{x}+{y}{carried}={sum} write {} carry {carry}", sum % 10));
    }
}
