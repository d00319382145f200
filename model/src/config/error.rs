//! What can go wrong with a `config.json`, by cause.

use std::path::PathBuf;

use latent_mla::MlaError;
use latent_moe::MoeError;

/// An error of reading, checking or writing a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The model's folder holds no configuration.
    #[error("config.json not found in {dir} (looked for {looked_for})")]
    NotFound {
        /// The folder.
        dir: PathBuf,
        /// The file it should hold.
        looked_for: PathBuf,
    },
    /// The file cannot be read.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The text is not JSON, or names a key twice.
    #[error("{file}: invalid JSON at line {line} col {column}: {reason}")]
    Json {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column, from 1; 0 where a line ends too early.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A key that has no published default is absent.
    #[error("{file}: missing field {field}")]
    Missing {
        /// The file.
        file: String,
        /// The key, with the keys it lies under.
        field: String,
    },
    /// A value has the wrong type or lies outside of its range.
    #[error("{file}: {field}: must be {wanted}, got {found}")]
    Value {
        /// The file.
        file: String,
        /// The key, with the keys it lies under.
        field: String,
        /// Its value.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// A value is understood and not supported.
    #[error("{file}: unsupported {field} {found}; supported: {supported}")]
    Unsupported {
        /// The file.
        file: String,
        /// The key, with the keys it lies under.
        field: String,
        /// Its value.
        found: String,
        /// Every supported value.
        supported: String,
    },
    /// Two keys say different things about one setting.
    #[error("{file}: {field} is {found}, but {other} is {other_found}")]
    Contradiction {
        /// The file.
        file: String,
        /// One key.
        field: String,
        /// Its value.
        found: String,
        /// The other key.
        other: String,
        /// Its value.
        other_found: String,
    },
    /// The attention is not usable.
    #[error("{file}: {source}")]
    Attention {
        /// The file.
        file: String,
        /// What attention says.
        source: MlaError,
    },
    /// The mixture of experts is not usable.
    #[error("{file}: {source}")]
    Moe {
        /// The file.
        file: String,
        /// What the experts say.
        source: MoeError,
    },
    /// The tokenizer knows ids that the embedding does not.
    #[error("tokenizer id {id} >= vocab_size {vocab_size}")]
    Tokenizer {
        /// The largest id.
        id: u32,
        /// The number of rows of the embedding.
        vocab_size: usize,
    },
    /// The family has no such mix of blocks, so its `config.json` cannot say it.
    #[error("{mix} is not in model_type {model_type}: its config.json cannot say it")]
    Unpublished {
        /// The attention and feed-forward of the configuration.
        mix: String,
        /// Its `model_type`.
        model_type: &'static str,
    },
}

/// Something in a configuration that deserves a look and changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A key that no published configuration of these families has.
    #[error("{file}: unknown key {key:?} is ignored")]
    UnknownKey {
        /// The file.
        file: String,
        /// The key.
        key: String,
    },
    /// A special token that the embedding does not know.
    #[error("{file}: {field} {id} >= vocab_size {vocab_size}")]
    TokenId {
        /// The file.
        file: String,
        /// The key.
        field: &'static str,
        /// Its value.
        id: u32,
        /// The number of rows of the embedding.
        vocab_size: usize,
    },
}
