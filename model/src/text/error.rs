//! What can go wrong with a tokenizer, a template or generation settings, by cause.

use std::path::PathBuf;

use crate::sampling::SamplingError;

/// An error of the files and functions between text and token ids.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A file is absent.
    #[error("{}: not found; wanted {wanted}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is looked for in it.
        wanted: String,
    },
    /// A file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is not JSON, or JSON of another form.
    #[error("{}: invalid JSON at line {line} column {column}: {detail}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        detail: String,
    },
    /// A value in a file is outside of what is supported.
    #[error("{file}: {field}: found {found}, want {wanted}")]
    Field {
        /// The file.
        file: String,
        /// The field, or the token or merge in it.
        field: String,
        /// What was found.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// A setting in a file is outside of its range.
    #[error("{file}: {source}")]
    Setting {
        /// The file.
        file: String,
        /// The setting and its range.
        source: SamplingError,
    },
    /// The tokenizer library refused the file.
    #[error("{file}: {detail}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What the library says.
        detail: String,
    },
    /// Splitting a text before tokenisation failed, as when a pattern backtracks without end.
    #[error("text of {found_bytes} bytes: pre-tokenizer pattern failed: {detail}")]
    PreTokenizer {
        /// The length of the text.
        found_bytes: usize,
        /// What the pattern engine says.
        detail: String,
    },
    /// The vocabulary has no tokens for a piece of text.
    #[error("text {found:?}: the vocabulary has no tokens for it")]
    Unencodable {
        /// The piece, in the vocabulary's own alphabet.
        found: String,
    },
    /// An id names no token.
    #[error("token id {found}: want an id of the vocabulary, at most {max}")]
    Id {
        /// The id.
        found: u32,
        /// The largest id.
        max: u32,
    },
    /// The chat template does not parse, or fails on these messages.
    #[error("chat template, line {line}: {detail}")]
    Template {
        /// The line of the template, from 1.
        line: usize,
        /// What is wrong there.
        detail: String,
    },
    /// The chat template ran out of its limit.
    #[error("chat template, line {line}: over the limit of {limit}")]
    TemplateLimit {
        /// The line of the template, from 1.
        line: usize,
        /// The limit.
        limit: String,
    },
    /// The chat template refused the messages by `raise_exception`.
    #[error("chat template refuses the messages: {message}")]
    Raised {
        /// The template's own words.
        message: String,
    },
    /// A message or an argument of a template is not usable.
    #[error("{name}: found {found}, want {wanted}")]
    Argument {
        /// The argument, as in `messages[2].role`.
        name: String,
        /// What was found.
        found: String,
        /// What is wanted.
        wanted: String,
    },
}

impl TextError {
    pub(crate) fn field(
        file: &str,
        field: impl Into<String>,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        let (field, wanted) = (field.into(), wanted.into());
        Self::Field { file: file.into(), field, found: found.to_string(), wanted }
    }

    pub(crate) fn argument(
        name: impl Into<String>,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Argument { name: name.into(), found: found.to_string(), wanted: wanted.into() }
    }
}
