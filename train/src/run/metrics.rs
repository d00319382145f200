//! Metrics as JSON lines.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::{Evaluation, StepReport, TrainError};

/// `metrics.jsonl`: a line for each step and each evaluation, written as they come.
#[derive(Debug)]
pub(super) struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file to append to it, without the lines behind step `done`: those of steps that are
    /// to be taken again.
    pub(super) fn open(path: &Path, done: u64) -> Result<Self, TrainError> {
        let io = |e| TrainError::io(path, e);
        let text = match fs::read(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.map_err(io)?,
        };
        let kept: Vec<u8> = text
            .split_inclusive(|&b| b == b'\n')
            .filter(|l| is_kept(l, done))
            .flatten()
            .copied()
            .collect();
        if kept != text {
            let partial = path.with_extension("jsonl.partial");
            fs::write(&partial, kept).and_then(|()| fs::rename(&partial, path)).map_err(io)?;
        }
        let file = File::options().append(true).create(true).open(path).map_err(io)?;
        Ok(Self { path: path.into(), file })
    }

    /// Appends what a step did.
    pub(super) fn step(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let seconds = report.time.as_secs_f64().max(1e-9);
        let by_layer = |each: &mut dyn Iterator<Item = (usize, Value)>| -> Map<String, Value> {
            each.map(|(layer, value)| (layer.to_string(), value)).collect()
        };
        self.line(&json!({
            "step": report.step,
            "loss": report.loss,
            "cross_entropy": report.losses.cross_entropy,
            "mtp": report.losses.mtp,
            "balance": report.losses.balance,
            "targets": report.losses.targets,
            "learning_rate": report.learning_rate,
            "grad_norm": report.grad_norm,
            "tokens": report.tokens,
            "tokens_per_second": report.tokens as f64 / seconds,
            "activation_bytes": report.losses.activation_bytes,
            "max_vio": by_layer(&mut report.loads.max_vio().map(|(layer, v)| (layer, v.into()))),
            "load": by_layer(&mut report.loads.iter().map(|(layer, l)| (layer, l.into()))),
        }))
    }

    /// Appends an evaluation.
    pub(super) fn evaluation(&mut self, step: u64, found: &Evaluation) -> Result<(), TrainError> {
        let kinds = found
            .kinds
            .iter()
            .map(|(kind, (loss, n))| (kind.to_string(), json!({ "loss": loss, "targets": n })));
        self.line(&json!({
            "step": step,
            "validation": {
                "loss": found.loss,
                "perplexity": found.loss.exp(),
                "targets": found.targets,
                "bytes": found.bytes,
                "bits_per_byte": found.bits_per_byte(),
                "kinds": kinds.collect::<Map<_, _>>(),
            },
        }))
    }

    /// Makes what was appended last through a loss of power.
    pub(super) fn sync(&mut self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|e| TrainError::io(&self.path, e))
    }

    fn line(&mut self, line: &Value) -> Result<(), TrainError> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|e| TrainError::io(&self.path, e))
    }
}

/// Whether a line is whole, and of a step that is not taken again.
fn is_kept(line: &[u8], done: u64) -> bool {
    let step = serde_json::from_slice::<Value>(line).ok().and_then(|line| line["step"].as_u64());
    line.ends_with(b"\n") && step.is_some_and(|step| step <= done)
}
