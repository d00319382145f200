//! How far a run is, and which run it is.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Cursor;

/// What `trainer.json` holds: with weights and the optimiser's state, all that the next steps depend
/// on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The steps taken.
    pub step: u64,
    /// How often the weights were moved: in training once a step, in reinforcement learning as often as a step
    /// has updates.
    pub updates: u64,
    /// The tokens that went in.
    pub tokens: u64,
    /// Where the next batch begins.
    pub cursor: Cursor,
    /// Every setting that changes a bit of the next steps, in objects by section; the seed, the
    /// corpus's hash and the schedule are among them.
    pub settings: Value,
}

/// Two runs that differ in a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The setting, with its sections, as in `optimizer.learning_rate`.
    pub field: String,
    /// Its value in what was saved, as JSON; `nothing` where there is none.
    pub saved: String,
    /// Its value in this run.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, saved, wanted } = self;
        write!(f, "{field}: what is there has {saved}, this run {wanted}")
    }
}

impl Progress {
    /// The first setting, by name, that is another in `settings`.
    ///
    /// ```
    /// use latent_train::checkpoint::Progress;
    /// use latent_train::data::Cursor;
    /// use serde_json::json;
    /// let settings = json!({"run": {"seed": 1}});
    /// let saved = Progress { step: 3, updates: 3, tokens: 96, cursor: Cursor::default(), settings };
    /// assert_eq!(saved.difference(&json!({"run": {"seed": 1}})), None);
    /// let other = saved.difference(&json!({"run": {"seed": 2}})).unwrap();
    /// assert_eq!(other.to_string(), "run.seed: what is there has 1, this run 2");
    /// ```
    #[must_use]
    pub fn difference(&self, settings: &Value) -> Option<Difference> {
        Difference::between(&self.settings, settings)
    }
}

impl Difference {
    /// The first setting, by name, of those that were `saved` that is another in `settings`.
    pub(crate) fn between(saved: &Value, settings: &Value) -> Option<Self> {
        // What is saved was printed and read: a number may have lost its last bit on that way.
        let read = serde_json::from_str(&settings.to_string());
        difference("", Some(saved), Some(read.as_ref().unwrap_or(settings)))
    }
}

fn difference(field: &str, saved: Option<&Value>, wanted: Option<&Value>) -> Option<Difference> {
    if saved == wanted {
        return None;
    }
    if let (Some(Value::Object(saved)), Some(Value::Object(wanted))) = (saved, wanted) {
        let keys: BTreeSet<&String> = saved.keys().chain(wanted.keys()).collect();
        return keys.into_iter().find_map(|key| {
            let field = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
            difference(&field, saved.get(key), wanted.get(key))
        });
    }
    let text = |value: Option<&Value>| value.map_or("nothing".into(), Value::to_string);
    Some(Difference { field: field.into(), saved: text(saved), wanted: text(wanted) })
}
