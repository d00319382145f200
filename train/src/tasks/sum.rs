//! Chained sums: `3+4+2+9=?`.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::generator::{Generator, space};
use super::multisets::Multisets;
use super::{Problem, digits};
use crate::config::{TrainConfigError, want};
use crate::random::reorder;

/// Settings of chained sums. The terms are one problem in whatever order they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SumConfig {
    /// How many numbers are added, from 2 to 16.
    pub terms: usize,
    /// The fewest digits of a number.
    pub min_digits: u32,
    /// The most digits of a number, at most 18.
    pub max_digits: u32,
}

impl Default for SumConfig {
    fn default() -> Self {
        Self { terms: 4, min_digits: 1, max_digits: 1 }
    }
}

#[derive(Debug)]
pub(super) struct Sum {
    space: Multisets,
}

impl Sum {
    pub(super) fn new(config: &SumConfig) -> Result<Self, TrainConfigError> {
        want(
            (2..=16).contains(&config.terms),
            "task.kind.sum.terms",
            config.terms,
            "from 2 to 16",
        )?;
        let numbers = digits::numbers(
            ("task.kind.sum.min_digits", config.min_digits),
            ("task.kind.sum.max_digits", config.max_digits),
        )?;
        Ok(Self { space: space("task.kind.sum.terms", config.terms, numbers)? })
    }
}

impl Generator for Sum {
    fn settings(&self) -> &'static str {
        "task.kind.sum.terms, min_digits and max_digits"
    }

    fn space(&self) -> &Multisets {
        &self.space
    }

    fn problem(&self, mut numbers: Vec<u64>, stream: &mut ChaCha8Rng) -> Option<Problem> {
        reorder(&mut numbers, stream);
        let mut total = u128::from(*numbers.first()?);
        let mut steps = Vec::new();
        for &number in &numbers[1..] {
            let before = total;
            total += u128::from(number);
            steps.push(format!("{before}+{number}={total}"));
        }
        let terms: Vec<String> = numbers.iter().map(u64::to_string).collect();
        Some(Problem::numeric("sum", format!("{}=?", terms.join("+")), total, &steps))
    }
}
