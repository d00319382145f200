//! The subcommands, one file each, and what they share.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use latent_model::checkpoint::CheckpointError;
use latent_model::config::ConfigError;

mod inspect;
mod kv;
mod source;
mod units;

pub(crate) use inspect::InspectArgs;
pub(crate) use kv::KvArgs;

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
    /// A configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint is wrong.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A result cannot be written.
    #[error("{path}: {source}")]
    Write {
        /// Where to.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl CommandError {
    /// 2 for a command that cannot be meant, 1 for data that is wrong.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::UnknownModel { .. } => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Prints `text` as it is; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CommandError::Write { path: "standard output".into(), source })
        }
        _ => Ok(()),
    }
}
