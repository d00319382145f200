//! What can go wrong with a run, by cause.

use std::io;
use std::path::{Path, PathBuf};

use latent_kernels::KernelError;
use latent_model::ModelError;

use crate::checkpoint::SnapshotError;
use crate::config::TrainConfigError;
use crate::data::DataError;
use crate::tasks::TaskError;
use crate::{OptimError, TrainStepError};

/// An error of a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The settings are wrong.
    #[error(transparent)]
    Config(#[from] TrainConfigError),
    /// The problems of a task are.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// The model that is to be trained cannot be read.
    #[error("base.model: {0}")]
    Base(ModelError),
    /// A model cannot be read, or not be written otherwise.
    #[error(transparent)]
    Export(#[from] ModelError),
    /// The data is.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A checkpoint is, or cannot be written.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// What computes cannot be had.
    #[error(transparent)]
    Backend(#[from] KernelError),
    /// The optimiser refused before the first step.
    #[error(transparent)]
    Optimizer(OptimError),
    /// Something went wrong in a step.
    #[error("step {step}: {source}")]
    Step {
        /// The step, counted from 1.
        step: u64,
        /// What went wrong.
        source: Box<TrainStepError>,
    },
    /// The folder of a new run holds another one.
    #[error("{}: holds a run: {newest}; go on with it by --resume, or give another run.out", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// The name of its newest checkpoint, or of the file of its results.
        newest: String,
    },
    /// The folder belongs to a run that has not ended.
    #[error("{}: another run is writing here", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A file of the run could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl TrainError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}
