//! `[task]`: what is asked, and how often.

use serde::{Deserialize, Serialize};
use toml::Value;

use super::addition::{Addition, AdditionConfig};
use super::countdown::{CountdownConfig, Make};
use super::gcd::{Gcd, GcdConfig};
use super::generator::Generator;
use super::jsonl::JsonlConfig;
use super::multiplication::{Multiplication, MultiplicationConfig};
use super::sum::{Sum, SumConfig};
use crate::config::keys::check_section;
use crate::config::{TrainConfigError, want};

/// The most problems of a part: each takes 16 bytes.
const MAX_PROBLEMS: u64 = 10_000_000;

/// The settings of a task.
///
/// ```
/// use latent_train::tasks::TaskConfig;
/// let config: TaskConfig = toml::from_str("kind.sum = { terms = 3, max_digits = 2 }")?;
/// assert_eq!(config.held_out, 0.1);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// What is asked, and its settings: `kind.sum = { terms = 4 }`.
    pub kind: KindConfig,
    /// Where all chance comes from: which problems are held out, their order, and how they stand.
    #[serde(default)]
    pub seed: u64,
    /// The share of all problems that is held out, above 0 and below 1.
    #[serde(default = "a_tenth")]
    pub held_out: f64,
    /// How many different problems there are to train on; absent, all there are, of a task that
    /// makes them at most 10,000.
    #[serde(default)]
    pub train_problems: Option<u64>,
    /// How many different problems are held out; absent, all there are, of a task that makes them at
    /// most 500.
    #[serde(default)]
    pub held_out_problems: Option<u64>,
}

fn a_tenth() -> f64 {
    0.1
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindConfig {
    /// Chained sums: `3+4+2+9=?`.
    Sum(SumConfig),
    /// Additions of two long numbers: `478+85=?`.
    Addition(AdditionConfig),
    /// Multiplications of two long numbers: `47*36=?`.
    Multiplication(MultiplicationConfig),
    /// To reach a number with given ones: `make 35 from 3 5 4`.
    Countdown(CountdownConfig),
    /// Greatest common divisors: `gcd(48,18)=?`.
    Gcd(GcdConfig),
    /// Questions and answers in files.
    Jsonl(JsonlConfig),
}

/// Where problems come from.
#[derive(Debug)]
pub(super) enum Source {
    Made(Box<dyn Generator>),
    Read(JsonlConfig),
}

impl TaskConfig {
    /// Proves that every key of a section `[task]` is one that is read.
    pub(crate) fn check_keys(section: &Value) -> Result<(), TrainConfigError> {
        check_section::<Self>("task", section)?;
        type Check = fn(&str, &Value) -> Result<(), TrainConfigError>;
        let kinds: [(&str, Check); 6] = [
            ("task.kind.sum", check_section::<SumConfig>),
            ("task.kind.addition", check_section::<AdditionConfig>),
            ("task.kind.multiplication", check_section::<MultiplicationConfig>),
            ("task.kind.countdown", check_section::<CountdownConfig>),
            ("task.kind.gcd", check_section::<GcdConfig>),
            ("task.kind.jsonl", check_section::<JsonlConfig>),
        ];
        let given = section.get("kind").and_then(Value::as_table);
        for (name, value) in given.into_iter().flatten() {
            let found =
                kinds.iter().find(|(kind, _)| kind.strip_prefix("task.kind.") == Some(name));
            if let Some((kind, check)) = found {
                check(kind, value)?;
            }
        }
        Ok(())
    }

    /// Where the problems come from, with all settings proved.
    pub(super) fn source(&self) -> Result<Source, TrainConfigError> {
        let between = 0.0 < self.held_out && self.held_out < 1.0;
        want(between, "task.held_out", self.held_out, "above 0 and below 1")?;
        for (field, asked) in [
            ("task.train_problems", self.train_problems),
            ("task.held_out_problems", self.held_out_problems),
        ] {
            let asked = asked.unwrap_or(1);
            let wanted = format!("from 1 to {MAX_PROBLEMS}, or no such key");
            want((1..=MAX_PROBLEMS).contains(&asked), field, asked, wanted)?;
        }
        Ok(match &self.kind {
            KindConfig::Sum(config) => Source::Made(Box::new(Sum::new(config)?)),
            KindConfig::Addition(config) => Source::Made(Box::new(Addition::new(config)?)),
            KindConfig::Multiplication(config) => {
                Source::Made(Box::new(Multiplication::new(config)?))
            }
            KindConfig::Countdown(config) => Source::Made(Box::new(Make::new(config)?)),
            KindConfig::Gcd(config) => Source::Made(Box::new(Gcd::new(config)?)),
            KindConfig::Jsonl(config) => {
                want(!config.files.is_empty(), "task.kind.jsonl.files", "none", "at least one")?;
                Source::Read(config.clone())
            }
        })
    }
}
