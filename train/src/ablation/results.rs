//! The runs of an ablation that are at their end, in a file.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::RunResult;
use crate::TrainError;
use crate::checkpoint::{Difference, SnapshotError};

/// The name of the file in an ablation's folder.
pub const RESULTS_FILE: &str = "results.jsonl";

/// `results.jsonl`: a line for each run that is at its end, in the order in which they ended.
#[derive(Debug)]
pub(super) struct Results {
    path: PathBuf,
    file: File,
    known: Vec<RunResult>,
}

impl Results {
    /// Opens the file of an ablation's folder, to append to it. A last line that was not written whole is
    /// taken off.
    pub(super) fn open(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(RESULTS_FILE);
        let io = |e| TrainError::io(&path, e);
        let (known, length) = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => (Vec::new(), 0),
            read => {
                let bytes = read.map_err(io)?;
                let length = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |last| last + 1);
                (parse(&path, &bytes[..length])?, length)
            }
        };
        let file = File::options().append(true).create(true).open(&path).map_err(io)?;
        file.set_len(length as u64).map_err(io)?;
        Ok(Self { path, file, known })
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// What a run with these settings came to; `None` where it is not at its end.
    ///
    /// # Errors
    /// [`SnapshotError::OtherRun`] with the first setting that differs, when one of that name and seed
    /// has others.
    pub(super) fn get(
        &self,
        variant: &str,
        seed: u64,
        settings: &Value,
    ) -> Result<Option<RunResult>, SnapshotError> {
        let mut of_name = self.known.iter().filter(|r| r.variant == variant && r.seed == seed);
        let Some(found) = of_name.next() else { return Ok(None) };
        match Difference::between(&found.settings, settings) {
            None => Ok(Some(found.clone())),
            Some(difference) => {
                Err(SnapshotError::OtherRun { path: self.path.clone(), difference })
            }
        }
    }

    /// Appends a result, so that it is there after a loss of power.
    pub(super) fn append(&mut self, result: &RunResult) -> Result<(), TrainError> {
        let mut write = || {
            let mut line = serde_json::to_vec(result)?;
            line.push(b'\n');
            self.file.write_all(&line)?;
            self.file.sync_data()
        };
        write().map_err(|e| TrainError::io(&self.path, e))?;
        self.known.push(result.clone());
        Ok(())
    }
}

/// Reads the results of an ablation: its folder, or the file in it.
///
/// # Errors
/// [`TrainError::Io`] with the file, and with the line that is no result.
pub fn read_results(path: &Path) -> Result<Vec<RunResult>, TrainError> {
    let file = if path.is_dir() { path.join(RESULTS_FILE) } else { path.into() };
    let bytes = fs::read(&file).map_err(|e| TrainError::io(&file, e))?;
    parse(&file, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<RunResult>, TrainError> {
    let lines = bytes.split(|&b| b == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let parsed = lines.map(|(index, line)| {
        let result = serde_json::from_slice(line);
        result.map_err(|e| {
            let detail = format!("line {}: no result of a run: {e}", index + 1);
            TrainError::io(path, std::io::Error::new(ErrorKind::InvalidData, detail))
        })
    });
    parsed.collect()
}
