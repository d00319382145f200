//! From lines of JSON, which anybody may have written, to a history.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::{RlHistory, RlStepPoint};
use crate::checkpoint::Checkpoints;
use crate::rl::RlEvaluation;
use crate::{METRICS_FILE, TrainError};

/// Reads the metrics of a run: its folder, or the file in it.
///
/// A run that goes on may be at its last line: where no line break ends it and it is not whole, it is passed over.
/// Of two evaluations after the same step the later one stays.
///
/// # Errors
/// [`TrainError::Io`] with the file, and with the line that is neither a step nor an evaluation, or that
/// stands behind a later step.
pub fn read_history(path: &Path) -> Result<RlHistory, TrainError> {
    let file = if path.is_dir() { path.join(METRICS_FILE) } else { path.into() };
    let bytes = fs::read(&file).map_err(|e| TrainError::io(&file, e))?;
    let mut history = RlHistory::default();
    for (index, line) in bytes.split_inclusive(|&b| b == b'\n').enumerate() {
        match history.add(line) {
            Ok(()) => {}
            Err(Wrong::NotWhole) => break,
            Err(Wrong::Line(detail)) => {
                let detail = format!("line {}: {detail}", index + 1);
                return Err(TrainError::io(&file, Error::new(ErrorKind::InvalidData, detail)));
            }
        }
    }
    Ok(history)
}

/// The settings of a run, in objects by section, as its newest checkpoint has them; `None` where the folder holds
/// no checkpoint.
///
/// # Errors
/// [`TrainError::Snapshot`] when the checkpoint is not there, [`TrainError::Io`] when its `trainer.json` cannot be
/// read.
pub fn read_settings(folder: &Path) -> Result<Option<Value>, TrainError> {
    let Some(newest) = Checkpoints::new(folder, 1)?.latest()? else { return Ok(None) };
    let path = newest.join("trainer.json");
    let read = || -> Result<Trainer, Error> { Ok(serde_json::from_slice(&fs::read(&path)?)?) };
    read().map(|trainer| Some(trainer.settings)).map_err(|e| TrainError::io(&path, e))
}

/// What is read of `trainer.json`: whatever else is in it, it says what the settings were.
#[derive(Deserialize)]
struct Trainer {
    settings: Value,
}

/// Why a line is none of a history.
enum Wrong {
    /// Its end is still to be written.
    NotWhole,
    Line(String),
}

#[derive(Deserialize)]
struct Evaluation {
    step: u64,
    held_out: RlEvaluation,
}

impl RlHistory {
    fn add(&mut self, line: &[u8]) -> Result<(), Wrong> {
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        let none = |what: &str, e: serde_json::Error| Wrong::Line(format!("no {what}: {e}"));
        let value: Value = match serde_json::from_slice(line) {
            Err(_) if !line.ends_with(b"\n") => return Err(Wrong::NotWhole),
            parsed => parsed.map_err(|e| none("line of metrics", e))?,
        };
        let newest = self.steps.last().map_or(0, |point| point.step);
        if value.get("held_out").is_some() {
            let read = serde_json::from_value(value);
            let Evaluation { step, held_out } = read.map_err(|e| none("evaluation", e))?;
            self.evaluations.pop_if(|(before, _)| *before == step);
            let newest = newest.max(self.evaluated());
            in_order(step, newest, step >= newest)?;
            self.evaluations.push((step, held_out));
        } else {
            let read = serde_json::from_value(value);
            let point: RlStepPoint = read.map_err(|e| none("step of reinforcement learning", e))?;
            let newest = newest.max(self.evaluated());
            in_order(point.step, newest, point.step > newest)?;
            self.steps.push(point);
        }
        Ok(())
    }

    /// The steps before the last evaluation.
    fn evaluated(&self) -> u64 {
        self.evaluations.last().map_or(0, |(step, _)| *step)
    }
}

fn in_order(step: u64, newest: u64, is: bool) -> Result<(), Wrong> {
    let detail = || format!("step {step} stands behind step {newest}");
    if is { Ok(()) } else { Err(Wrong::Line(detail())) }
}
