//! A setting that changes once in a run.

use serde::{Deserialize, Serialize};

use super::TrainConfigError;
use super::error::{not_negative, want};

/// The value that a setting has after some steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// The steps that are taken before.
    pub after: u64,
    /// The value from then on.
    pub value: f64,
}

impl Late {
    /// The value in a step, counted from 1; `early` before the change, and where there is none.
    #[must_use]
    pub fn or(late: Option<Self>, early: f64, step: u64) -> f64 {
        late.filter(|late| step > late.after).map_or(early, |late| late.value)
    }

    /// Proves that there are steps before the change, and that the value is a finite number of at
    /// least 0. `fields` are the keys of the two.
    pub(super) fn validate(self, fields: [&'static str; 2]) -> Result<(), TrainConfigError> {
        let holds = (1..1 << 53).contains(&self.after);
        want(holds, fields[0], self.after, "at least 1, below 2^53")?;
        not_negative(fields[1], self.value)
    }
}
