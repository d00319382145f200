//! `[task]` and `[examples]`: of what there are examples, and in which mixture.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Value;

use super::Shares;
use crate::config::keys::check_section;
use crate::config::{Override, TrainConfig, TrainConfigError, read_file, want};
use crate::rewards::Template;
use crate::tasks::{KindConfig, TaskConfig};

/// The most examples.
const MAX_COUNT: u64 = 10_000_000;

/// The settings of examples.
///
/// ```
/// use latent_train::tasks::ExamplesConfig;
/// let text = "task.kind.sum = { terms = 4 }\nexamples.worked = 0.5";
/// let config = ExamplesConfig::from_toml(text, &[])?;
/// assert_eq!((config.examples.count, config.examples.worked), (20_000, 0.5));
/// let error = ExamplesConfig::from_toml(&text.replace("worked", "wroked"), &[]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "examples.wroked: unknown key; did you mean examples.worked?"
/// );
/// # Ok::<(), latent_train::config::TrainConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplesConfig {
    /// What is asked; what is held out of it is in no example.
    pub task: TaskConfig,
    /// What is answered.
    #[serde(default)]
    pub examples: ExamplesSection,
}

/// `[examples]`: how many there are, and in which mixture.
///
/// `worked`, `partial` and `guess` are parts of a whole, whatever their sum is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExamplesSection {
    /// How many examples there are. More than there are problems have these again, answered anew.
    pub count: u64,
    /// Where the chance of completions comes from; that of problems comes from `task.seed`.
    pub seed: u64,
    /// What stands around a question: `r1`, `tiny`, or a text with `{question}` in it. It is to be that of the
    /// reward.
    pub template: String,
    /// The part that is worked through.
    pub worked: f64,
    /// The part that is guessed after some steps.
    pub partial: f64,
    /// The part that is guessed.
    pub guess: f64,
    /// The share of all examples that has a broken form, from 0 to 1.
    pub malformed: f64,
}

impl Default for ExamplesSection {
    fn default() -> Self {
        Self {
            count: 20_000,
            seed: 0,
            template: "tiny".into(),
            worked: 0.15,
            partial: 0.15,
            guess: 0.7,
            malformed: 0.3,
        }
    }
}

impl ExamplesConfig {
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
        let table = Value::Table(TrainConfig::table(text, overrides)?);
        check_section::<Self>("", &table)?;
        table.get("task").map_or(Ok(()), TaskConfig::check_keys)?;
        let section = table.get("examples");
        section.map_or(Ok(()), |found| check_section::<ExamplesSection>("examples", found))?;
        let config = Self::deserialize(table);
        let config = config.map_err(|error| TrainConfigError::of_type(&error))?;
        config.validate()?;
        Ok(config)
    }

    /// Proves that every setting of `[examples]` is in its range, and that problems have worked solutions;
    /// other settings of the task are proved when its problems are made.
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] with the key, its value and what is wanted;
    /// [`TrainConfigError::NoMeaning`] for problems that are read from files.
    pub fn validate(&self) -> Result<(), TrainConfigError> {
        if matches!(self.task.kind, KindConfig::Jsonl(_)) {
            let because = "for examples: problems that are read have no worked solution".into();
            return Err(TrainConfigError::NoMeaning { field: "task.kind.jsonl", because });
        }
        let ExamplesSection { count, malformed, .. } = self.examples;
        let wanted = format!("from 1 to {MAX_COUNT}");
        want((1..=MAX_COUNT).contains(&count), "examples.count", count, wanted)?;
        let is_share = (0.0..=1.0).contains(&malformed);
        want(is_share, "examples.malformed", malformed, "from 0 to 1")?;
        self.examples.template()?;
        self.examples.shares()?;
        Ok(())
    }
}

impl ExamplesSection {
    /// What stands around a question.
    pub(super) fn template(&self) -> Result<Template, TrainConfigError> {
        Template::new(&self.template).map_err(|error| match error {
            TrainConfigError::Setting { found, wanted, .. } => {
                TrainConfigError::Setting { field: "examples.template", found, wanted }
            }
            other => other,
        })
    }

    /// The shares of the kinds, whose sum is 1.
    pub(super) fn shares(&self) -> Result<Shares, TrainConfigError> {
        let &Self { worked, partial, guess, .. } = self;
        for (field, part) in
            [("examples.worked", worked), ("examples.partial", partial), ("examples.guess", guess)]
        {
            let holds = part >= 0.0 && part.is_finite();
            want(holds, field, part, "a finite number of at least 0")?;
        }
        let most = worked.max(partial).max(guess);
        want(most > 0.0, "examples.guess", guess, "above 0, or else worked or partial above 0")?;
        // Of the largest, so that no sum is infinite.
        let [worked, partial, guess] = [worked, partial, guess].map(|part| part / most);
        let sum = worked + partial + guess;
        Ok(Shares { worked: worked / sum, worked_or_partial: (worked + partial) / sum })
    }
}
