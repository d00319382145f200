//! The settings of a run, from a TOML file.
//!
//! ```toml
#![doc = include_str!("../tiny.toml")]
//! ```
//!
//! Reading is strict: an unknown key is an error with the key that may have been meant, and every
//! number is proved to be in its range before anything else happens. Paths count from the folder that
//! the program runs in.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use toml::{Table, Value};

mod data;
mod error;
mod experts;
pub(crate) mod keys;
mod late;
mod loss;
mod model;
mod optimizer;
mod overrides;
mod run;
mod schedule;

pub use data::{DataSection, TokenizerChoice};
pub use error::TrainConfigError;
pub(crate) use error::{at_least_one, each_once, not_negative, want};
pub use experts::{ExpertsSection, ScoringKind, TopkKind};
pub use late::Late;
pub(crate) use loss::BIAS_UPDATE_SPEED;
pub use loss::LossSection;
pub use model::{AttentionKind, ModelSection};
pub use optimizer::{DecayKind, MatricesKind, OptimizerSection};
pub use overrides::Override;
pub use run::{DtypeKind, FormKind, RunSection};
pub use schedule::{CooldownKind, ScheduleKind, ScheduleSection};

/// The settings of a run: a section for each part of it.
///
/// ```
/// use latent_train::config::TrainConfig;
/// let text = r#"
///     [model]
///     attention = "mqa"
///     hidden_size = 16
///     num_hidden_layers = 2
///     num_attention_heads = 4
///     intermediate_size = 32
///     head_dim = 4
///     [data]
///     files = ["text.txt"]
///     [optimizer]
///     learing_rate = 1e-3
/// "#;
/// let error = TrainConfig::from_toml(text, &[]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "optimizer.learing_rate: unknown key; did you mean optimizer.learning_rate?"
/// );
/// let config = TrainConfig::from_toml(&text.replace("learing", "learning"), &[])?;
/// assert_eq!(config.optimizer.learning_rate, 1e-3);
/// # Ok::<(), latent_train::config::TrainConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What is trained.
    pub model: ModelSection,
    /// What it is trained on.
    pub data: DataSection,
    /// What moves its weights.
    #[serde(default)]
    pub optimizer: OptimizerSection,
    /// How the learning rate goes.
    #[serde(default)]
    pub schedule: ScheduleSection,
    /// What is minimised.
    #[serde(default)]
    pub loss: LossSection,
    /// How long, and where things go.
    #[serde(default)]
    pub run: RunSection,
}

impl TrainConfig {
    /// Reads a file, with some settings replaced.
    ///
    /// # Errors
    /// [`TrainConfigError::File`] with the file, around the error of [`from_toml`](Self::from_toml)
    /// or of the system.
    pub fn from_file(path: &Path, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        read_file(path, |text| Self::from_toml(text, overrides))
    }

    /// Reads the text of a file, with some settings replaced.
    ///
    /// # Errors
    /// [`TrainConfigError::Syntax`] with the line when the text is no TOML,
    /// [`TrainConfigError::UnknownKey`], [`TrainConfigError::Type`] for a value of another type or a
    /// key that is absent, and as [`validate`](Self::validate).
    pub fn from_toml(text: &str, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        Self::from_table(Self::table(text, overrides)?)
    }

    /// The text of a file as a table, with some settings replaced.
    pub(crate) fn table(text: &str, overrides: &[Override]) -> Result<Table, TrainConfigError> {
        let mut table: Table =
            text.parse().map_err(|error| TrainConfigError::syntax(text, &error))?;
        for each in overrides {
            each.apply(&mut table)?;
        }
        Ok(table)
    }

    /// The settings that a table says.
    pub(crate) fn from_table(table: Table) -> Result<Self, TrainConfigError> {
        keys::check(&table, &keys::of_training())?;
        let config = Self::deserialize(Value::Table(table));
        let config = config.map_err(|error| TrainConfigError::of_type(&error))?;
        config.validate()?;
        Ok(config)
    }

    /// Proves that every setting is in its range, and that they go together.
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] with the key, its value and what is wanted;
    /// [`TrainConfigError::NoMeaning`] for a key that something else makes idle;
    /// [`TrainConfigError::Model`] for a model that cannot be, or that no `config.json` can describe.
    pub fn validate(&self) -> Result<(), TrainConfigError> {
        self.data.validate()?;
        self.model.validate(&self.data)?;
        self.optimizer.validate()?;
        self.run.validate()?;
        self.schedule.resolve(self.run.steps)?;
        self.loss.validate(&self.model)
    }
}

/// What `read` makes of the text of a regular file, with the file in its errors.
pub(crate) fn read_file<T>(
    path: &Path,
    read: impl FnOnce(&str) -> Result<T, TrainConfigError>,
) -> Result<T, TrainConfigError> {
    let in_file = |source| TrainConfigError::File { path: path.into(), source: Box::new(source) };
    // Before opening: a pipe without a writer would block.
    let text = path.metadata().and_then(|found| {
        if found.is_file() {
            fs::read_to_string(path)
        } else {
            Err(std::io::Error::other("not a regular file"))
        }
    });
    read(&text.map_err(|e| in_file(TrainConfigError::Io(e)))?).map_err(in_file)
}
