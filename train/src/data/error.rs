//! What can go wrong between files and batches, by cause.

use std::path::PathBuf;

use latent_model::text::TextError;

/// An error of the data to train on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file or a folder is absent.
    #[error("{}: not found; want {wanted}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What is looked for in it.
        wanted: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file holds bytes that are no text.
    #[error(
        "{}: line {line}: found byte {found:#04x} at offset {offset}, want text in UTF-8",
        path.display()
    )]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The place of the first such byte, from 0.
        offset: usize,
        /// The byte.
        found: u8,
    },
    /// A line is not JSON.
    #[error("{}: line {line}: {detail}; want one JSON object in each line", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        detail: String,
    },
    /// A line is JSON, but not what is asked for.
    #[error("{}: line {line}: {field}: found {found}, want {wanted}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field.
        field: String,
        /// What was found.
        found: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// There is no text in what was given.
    #[error(
        "corpus is empty: found no text in {found}, want at least one document (of a folder: .txt, .jsonl, .ndjson)"
    )]
    Empty {
        /// Where it was looked for.
        found: String,
    },
    /// There is less text than one sequence takes.
    #[error(
        "corpus is shorter than one sequence: found {found} tokens, want at least {seq_len} \
         (seq_len)"
    )]
    Short {
        /// The tokens of all documents, their ends included.
        found: usize,
        /// The tokens of one sequence.
        seq_len: usize,
    },
    /// A setting is outside of its range.
    #[error("{name}: found {found}, want {wanted}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What was found.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// The tokenizer library could not be trained.
    #[error("training of a tokenizer: {detail}")]
    Training {
        /// What the library says.
        detail: String,
    },
    /// A tokenizer's files or its use.
    #[error(transparent)]
    Text(#[from] TextError),
}

impl DataError {
    pub(crate) fn setting(
        name: &'static str,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Setting { name, found: found.to_string(), wanted: wanted.into() }
    }
}
