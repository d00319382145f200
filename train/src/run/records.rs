//! What a run leaves in its folder, whatever it trains by: checkpoints, lines of metrics, numbers for TensorBoard.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{EventFile, JsonLines, RunFolder};
use crate::TrainError;
use crate::checkpoint::{Checkpoints, Contents};
use crate::config::RunSection;

/// The folder of a run that is about to begin or to go on.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) folder: RunFolder,
    checkpoints: Checkpoints,
    /// The checkpoint to go on from; `None` where the run begins.
    pub(crate) newest: Option<PathBuf>,
}

impl Place {
    /// Locks the folder and finds the newest checkpoint in it, which only a run that is resumed may find.
    pub(crate) fn open(settings: &RunSection, resume: bool) -> Result<Self, TrainError> {
        let checkpoints = Checkpoints::new(&settings.out, settings.keep)?;
        let folder = RunFolder::open(&settings.out)?;
        let newest = checkpoints.latest()?;
        if let (Some(newest), false) = (&newest, resume) {
            return Err(folder.occupied(newest));
        }
        checkpoints.tidy()?;
        Ok(Self { folder, checkpoints, newest })
    }

    /// The records of a run as it is now. One that begins is saved first: what cannot be saved is known
    /// before anything is computed.
    pub(crate) fn records(self, now: &Contents<'_>) -> Result<Records, TrainError> {
        let Self { folder, checkpoints, newest } = self;
        let newest = match newest {
            Some(newest) => newest,
            None => checkpoints.save(now)?,
        };
        let metrics = JsonLines::open(&folder.metrics(), now.progress.step)?;
        let events = EventFile::create(&folder, now.progress.step)?;
        Ok(Records { _folder: folder, checkpoints, newest, metrics, events })
    }
}

/// Where a run's results go.
#[derive(Debug)]
pub(crate) struct Records {
    /// Holds the lock.
    _folder: RunFolder,
    checkpoints: Checkpoints,
    newest: PathBuf,
    metrics: JsonLines,
    pub(crate) events: EventFile,
}

impl Records {
    /// The newest checkpoint.
    pub(crate) fn newest(&self) -> &Path {
        &self.newest
    }

    /// Appends a line to the metrics.
    pub(crate) fn line(&mut self, line: &Value) -> Result<(), TrainError> {
        self.metrics.line(line)
    }

    /// Saves a checkpoint, which is never ahead of the metrics, and gives its folder; `None` where the newest is
    /// of this step already.
    pub(crate) fn save(&mut self, contents: &Contents<'_>) -> Result<Option<&Path>, TrainError> {
        if self.newest == self.checkpoints.folder(contents.progress.step) {
            return Ok(None);
        }
        self.metrics.sync()?;
        self.newest = self.checkpoints.save(contents)?;
        Ok(Some(&self.newest))
    }
}
