//! Lines of JSON, each of a step.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Loads, TrainError};

/// A file of lines for steps, written as they come.
#[derive(Debug)]
pub(crate) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens the file to append to it, without the lines behind step `done`: those of steps that are
    /// to be taken again. A run that begins has none: what it finds before its first step it finds again.
    pub(crate) fn open(path: &Path, done: u64) -> Result<Self, TrainError> {
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

    /// Makes what was appended last through a loss of power.
    pub(crate) fn sync(&mut self) -> Result<(), TrainError> {
        self.file.sync_data().map_err(|e| TrainError::io(&self.path, e))
    }

    /// Appends a line.
    pub(crate) fn line(&mut self, line: &Value) -> Result<(), TrainError> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|e| TrainError::io(&self.path, e))
    }
}

/// What each layer with experts has, by its number.
fn by_layer(loads: impl Iterator<Item = (usize, Value)>) -> Map<String, Value> {
    loads.map(|(layer, value)| (layer.to_string(), value)).collect()
}

/// `max_vio` and `load` of a step.
pub(crate) fn of_loads(loads: &Loads) -> [Map<String, Value>; 2] {
    [
        by_layer(loads.max_vio().map(|(layer, v)| (layer, v.into()))),
        by_layer(loads.iter().map(|(layer, load)| (layer, load.into()))),
    ]
}

/// Whether a line is whole, and of a step that is not taken again.
fn is_kept(line: &[u8], done: u64) -> bool {
    let step = serde_json::from_slice::<Value>(line).ok().and_then(|line| line["step"].as_u64());
    line.ends_with(b"\n") && step.is_some_and(|step| done > 0 && step <= done)
}
