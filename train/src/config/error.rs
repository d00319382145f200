//! What can go wrong with the settings of a run, by cause.

use std::collections::BTreeSet;
use std::path::PathBuf;

use latent_model::config::ConfigError;

/// An error of the settings of a run. Keys stand with their sections, as in `optimizer.learning_rate`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainConfigError {
    /// An error in a file.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        source: Box<TrainConfigError>,
    },
    /// A file cannot be read.
    #[error("{0}")]
    Io(std::io::Error),
    /// The text is not TOML, or names a key twice.
    #[error("line {line}, column {column}: {detail}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        detail: String,
    },
    /// What is to replace a setting is not a key and a value.
    #[error("{found:?}: want KEY=VALUE, as in optimizer.learning_rate=1e-3")]
    Override {
        /// What was found.
        found: String,
    },
    /// A key that nothing reads.
    #[error("{field}: unknown key{}", hint(suggestion.as_deref()))]
    UnknownKey {
        /// The key.
        field: String,
        /// The key that may have been meant.
        suggestion: Option<String>,
    },
    /// A value has another type than its key, or a key is absent.
    #[error("{field}: {detail}")]
    Type {
        /// The key, or the section that lacks one.
        field: String,
        /// What is wrong.
        detail: String,
    },
    /// A value is outside of its range.
    #[error("{field}: found {found}, want {wanted}")]
    Setting {
        /// The key.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// A key is given that something else makes idle.
    #[error("{field}: has no meaning {because}")]
    NoMeaning {
        /// The key.
        field: &'static str,
        /// What makes it idle.
        because: String,
    },
    /// A key is absent that another asks for.
    #[error("{field}: missing; {because}")]
    Missing {
        /// The key.
        field: &'static str,
        /// What asks for it.
        because: String,
    },
    /// The settings of a variant of an ablation are wrong.
    #[error("variant {name:?}: {source}")]
    Variant {
        /// The variant.
        name: String,
        /// What is wrong.
        source: Box<TrainConfigError>,
    },
    /// The model cannot be, or no `config.json` can say what it is.
    #[error("model: {0}")]
    Model(#[from] ConfigError),
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map_or(String::new(), |key| format!("; did you mean {key}?"))
}

impl TrainConfigError {
    /// An error of the parser, which names a place in `text`.
    pub(super) fn syntax(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text.as_bytes()[..at];
        let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|&&b| b != b'\n').count();
        Self::Syntax { line, column, detail: one_line(error.message()) }
    }

    /// An error of reading values, which names a key in its last line.
    pub(crate) fn of_type(error: &toml::de::Error) -> Self {
        let text = error.to_string();
        let key = text.lines().last().and_then(|l| l.strip_prefix("in `")?.strip_suffix('`'));
        let field = key.unwrap_or("settings").into();
        Self::Type { field, detail: one_line(error.message()) }
    }

    /// The same of a section that was read by itself.
    pub(crate) fn of_section(section: &str, error: &toml::de::Error) -> Self {
        match Self::of_type(error) {
            Self::Type { field, detail } if field == "settings" => {
                Self::Type { field: section.into(), detail }
            }
            Self::Type { field, detail } => {
                Self::Type { field: format!("{section}.{field}"), detail }
            }
            other => other,
        }
    }

    pub(crate) fn setting(
        field: &'static str,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Setting { field, found: found.to_string(), wanted: wanted.into() }
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Passes where `holds`, and says what is wanted where not.
pub(crate) fn want(
    holds: bool,
    field: &'static str,
    found: impl ToString,
    wanted: impl Into<String>,
) -> Result<(), TrainConfigError> {
    if holds { Ok(()) } else { Err(TrainConfigError::setting(field, found, wanted)) }
}

/// Proves that there is something, and nothing twice.
pub(crate) fn each_once(
    field: &'static str,
    mut all: impl Iterator<Item = String>,
) -> Result<(), TrainConfigError> {
    let mut seen = BTreeSet::new();
    if let Some(twice) = all.find(|name| !seen.insert(name.clone())) {
        return Err(TrainConfigError::setting(field, format!("{twice} twice"), "each once"));
    }
    want(!seen.is_empty(), field, "none", "at least one")
}

/// Proves that a setting is a finite number of at least 0.
pub(crate) fn not_negative(field: &'static str, value: f64) -> Result<(), TrainConfigError> {
    want(value >= 0.0 && value.is_finite(), field, value, "a finite number of at least 0")
}

/// Proves that a count is at least 1.
pub(crate) fn at_least_one(field: &'static str, found: u64) -> Result<(), TrainConfigError> {
    want(found > 0, field, found, "at least 1")
}
