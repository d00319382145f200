//! What can go wrong with the checkpoints of a run, by cause.

use std::io;
use std::path::{Path, PathBuf};

use latent_model::ModelError;
use latent_model::checkpoint::CheckpointError;
use latent_model::config::ConfigError;

use super::Difference;
use crate::OptimError;
use crate::data::DataError;

/// An error of saving a run or of going on with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A file or a folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No checkpoint would be kept.
    #[error("keep: found {found}, want at least 1 checkpoint")]
    Keep {
        /// How many were to be kept.
        found: usize,
    },
    /// The checkpoint of this step is there already, and is the newest.
    #[error("{}: is there already, and is the newest checkpoint", path.display())]
    Exists {
        /// Its folder.
        path: PathBuf,
    },
    /// The file that names the newest checkpoint names none.
    #[error("{}: found {found}, want the name of a checkpoint, as in step-00001000", path.display())]
    Pointer {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// A file of a checkpoint is not there.
    #[error("{}: not found; the checkpoint is not whole, and a run cannot go on from it", path.display())]
    NotWhole {
        /// The file.
        path: PathBuf,
    },
    /// `trainer.json` is not what is written.
    #[error("{}: {detail}", path.display())]
    Progress {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        detail: String,
    },
    /// The run has other settings than the checkpoint.
    #[error("{}: another run: {difference}", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// The first setting that differs.
        difference: Difference,
    },
    /// A tensor in `optimizer.safetensors` is no state of an optimiser.
    #[error(
        "{}: tensor {tensor}: found {found}, want exp_avg.NAME, exp_avg_sq.NAME or \
         momentum_buffer.NAME in F32",
        path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: String,
    },
    /// The state of the optimiser does not fit the weights.
    #[error("{}: {source}", path.display())]
    Optimizer {
        /// The file.
        path: PathBuf,
        /// How.
        source: OptimError,
    },
    /// The weights' files are missing, malformed, or cannot be written.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// `config.json` is missing, malformed, or cannot say what the model is.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model does not fit its weights.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer's files could not be written.
    #[error(transparent)]
    Tokenizer(#[from] DataError),
}

impl SnapshotError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
