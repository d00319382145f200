//! What a subcommand fails with, and the exit code that says so.

use std::io;
use std::path::{Path, PathBuf};

use latent_model::ModelError;
use latent_model::checkpoint::CheckpointError;
use latent_model::config::ConfigError;
use latent_model::kernels::KernelError;
use latent_model::mla::MlaError;
use latent_model::perplexity::PerplexityError;
use latent_model::sampling::SamplingError;
use latent_model::text::TextError;
use latent_train::TrainError;
use latent_train::config::TrainConfigError;
use latent_train::tasks::TaskError;

/// The exit code of a program that Ctrl-C ended: 128 and the signal's number, by the convention of shells.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// A name that is neither embedded nor a path.
    #[error("no model {name:?}: neither a path nor one of {known}")]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The embedded models.
        known: String,
    },
    /// The flags do not fit together or to the model.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output cannot be written.
    #[error("standard output: {0}")]
    Output(#[from] io::Error),
    /// Text is given to a model whose folder has no tokenizer.
    #[error("{path}: not found; without a tokenizer, give token ids with --tokens")]
    NoTokenizer {
        /// The file that is not there.
        path: PathBuf,
    },
    /// The model, its files or its numbers are wrong.
    #[error(transparent)]
    Model(Box<ModelError>),
    /// A run of training, its settings or its files are wrong.
    #[error(transparent)]
    Train(Box<TrainError>),
    /// The problems of a task, their settings or their files are wrong.
    #[error(transparent)]
    Task(Box<TaskError>),
    /// A run was asked to end before its last step.
    #[error("interrupted after step {step}; saved {}; go on with the same command and --resume", checkpoint.display())]
    Interrupted {
        /// The last step.
        step: u64,
        /// Where it is saved.
        checkpoint: PathBuf,
    },
    /// Some runs were asked to end before their last steps.
    #[error("interrupted; runs are saved in {}; go on with the same command (ablate: with --resume)", runs.display())]
    Stopped {
        /// Their folder.
        runs: PathBuf,
    },
    /// Something that was promised does not hold.
    #[error("{0}")]
    Failed(String),
}

impl CommandError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// 2 for a command that cannot be meant, 1 for data that is wrong, 130 for a run that was interrupted.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownModel { .. } | Self::Usage(_) => 2,
            Self::Interrupted { .. } | Self::Stopped { .. } => INTERRUPTED,
            Self::Model(error) => match **error {
                ModelError::Empty(_)
                | ModelError::Sampling(SamplingError::Setting { .. })
                | ModelError::Perplexity(PerplexityError::Window { .. }) => 2,
                _ => 1,
            },
            _ => 1,
        }
    }

    /// Whether the reader of our output went away, as `head` does: not an error.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<ModelError> for CommandError {
    fn from(error: ModelError) -> Self {
        Self::Model(Box::new(error))
    }
}

impl From<TrainError> for CommandError {
    fn from(error: TrainError) -> Self {
        Self::Train(Box::new(error))
    }
}

impl From<TaskError> for CommandError {
    fn from(error: TaskError) -> Self {
        Self::Task(Box::new(error))
    }
}

impl From<TrainConfigError> for CommandError {
    fn from(error: TrainConfigError) -> Self {
        TrainError::from(error).into()
    }
}

macro_rules! from_through_model {
    ($($error:ty),*) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                ModelError::from(error).into()
            }
        }
    )*};
}

from_through_model!(
    ConfigError,
    CheckpointError,
    KernelError,
    MlaError,
    PerplexityError,
    SamplingError,
    TextError
);
