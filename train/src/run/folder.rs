//! The folder of a run, which one process at a time writes to.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::TrainError;

/// The file of a run's folder that has its metrics: a JSON object a line.
pub const METRICS_FILE: &str = "metrics.jsonl";

/// A folder that is ours until this is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl RunFolder {
    /// Makes the folder where it is absent, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, TrainError> {
        fs::create_dir_all(path).map_err(|e| TrainError::io(path, e))?;
        let file = path.join(".lock");
        let lock = File::create(&file).map_err(|e| TrainError::io(&file, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TrainError::InUse { path: path.into() }),
            // Some network drives have no locks, and are trusted.
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(e)) => return Err(TrainError::io(&file, e)),
        }
        Ok(Self { path: path.into(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.path.join(METRICS_FILE)
    }

    /// Where a tokenizer is trained.
    pub(crate) fn tokenizer(&self) -> PathBuf {
        self.path.join("tokenizer")
    }

    /// The error of a new run that finds another here.
    pub(crate) fn occupied(&self, newest: &Path) -> TrainError {
        let newest = newest.file_name().unwrap_or_default().to_string_lossy().into_owned();
        TrainError::Occupied { path: self.path.clone(), newest }
    }
}
