//! What can go wrong before there are problems, by cause.

use std::path::PathBuf;

use crate::config::TrainConfigError;
use crate::data::DataError;

/// An error of a task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A setting is out of its range, or asks for more problems than there are.
    #[error(transparent)]
    Setting(#[from] TrainConfigError),
    /// A file of problems cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A question that was there before has another answer.
    #[error(
        "{}: line {line}: found the answer {found:?} to a question that was answered with \
         {before:?} before, want one answer to a question",
        path.display()
    )]
    Contradiction {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Its answer.
        found: String,
        /// The answer of the line before.
        before: String,
    },
}
