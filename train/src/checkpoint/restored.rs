//! What comes out of a checkpoint.

use std::fs;
use std::path::{Path, PathBuf};

use latent_model::checkpoint::{Checkpoint, FileDtype, OpenOptions, VerifyOptions};
use latent_model::config::ModelConfig;
use serde_json::Value;

use super::contents::{OPTIMIZER, PARTS, REFERENCE, TRAINER};
use super::{Progress, SnapshotError};
use crate::{Array, Optimizer, OptimizerConfig, OptimizerState, Parameters};

/// A checkpoint that was read and found whole.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Its folder.
    pub folder: PathBuf,
    /// The model.
    pub model: ModelConfig,
    /// Its weights, every one of them finite.
    pub weights: Parameters<f32>,
    /// Those of the model that it is not to diverge from, where there is one.
    pub reference: Option<Parameters<f32>>,
    /// The optimiser's state.
    pub state: OptimizerState<f32>,
    /// How far the run is.
    pub progress: Progress,
}

impl Restored {
    /// Reads the checkpoint in the folder `dir`, for a run of these settings.
    ///
    /// # Errors
    /// [`SnapshotError::NotWhole`] when a file is absent, [`SnapshotError::OtherRun`] with the first
    /// setting that differs, [`SnapshotError::Progress`], [`SnapshotError::Config`],
    /// [`SnapshotError::Weights`] and [`SnapshotError::State`] when a file is not what is written.
    pub fn read(dir: &Path, settings: &Value) -> Result<Self, SnapshotError> {
        // The first file of all says whose they are.
        let progress = progress(&dir.join(TRAINER))?;
        if let Some(difference) = progress.difference(settings) {
            return Err(SnapshotError::OtherRun { path: dir.join(TRAINER), difference });
        }
        for name in ["config.json", "model.safetensors", "tokenizer.json", OPTIMIZER] {
            whole(&dir.join(name))?;
        }
        let (model, _) = ModelConfig::from_dir(dir)?;
        let checkpoint = Checkpoint::open(dir, OpenOptions { mmap: false, ..Default::default() })?;
        checkpoint.verify(&model.tensors(), &VerifyOptions::default())?;
        checkpoint.check_weights()?;
        let weights = Parameters::read(&checkpoint, &model.tensors())?;
        let reference = reference(&dir.join(REFERENCE), &model)?;
        let state = state(&dir.join(OPTIMIZER), progress.updates)?;
        Ok(Self { folder: dir.into(), model, weights, reference, state, progress })
    }

    /// The weights of the reference.
    ///
    /// # Errors
    /// [`SnapshotError::NotWhole`] when the checkpoint has none.
    pub fn reference(&self) -> Result<&Parameters<f32>, SnapshotError> {
        let absent = || SnapshotError::NotWhole { path: self.folder.join(REFERENCE) };
        self.reference.as_ref().ok_or_else(absent)
    }

    /// The optimiser that goes on from the state.
    ///
    /// # Errors
    /// [`SnapshotError::Optimizer`] when the state is not that of these weights under `config`.
    pub fn optimizer(&self, config: OptimizerConfig) -> Result<Optimizer<f32>, SnapshotError> {
        let optimizer = Optimizer::with_state(config, &self.weights, self.state.clone());
        optimizer.map_err(|source| SnapshotError::Optimizer {
            path: self.folder.join(OPTIMIZER),
            source,
        })
    }
}

fn whole(path: &Path) -> Result<(), SnapshotError> {
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(SnapshotError::NotWhole { path: path.into() }),
        Err(e) => Err(SnapshotError::io(path, e)),
    }
}

fn progress(path: &Path) -> Result<Progress, SnapshotError> {
    whole(path)?;
    let bytes = fs::read(path).map_err(|e| SnapshotError::io(path, e))?;
    serde_json::from_slice(&bytes)
        .map_err(|e| SnapshotError::Progress { path: path.into(), detail: e.to_string() })
}

fn reference(path: &Path, model: &ModelConfig) -> Result<Option<Parameters<f32>>, SnapshotError> {
    if !path.try_exists().map_err(|e| SnapshotError::io(path, e))? {
        return Ok(None);
    }
    let options = OpenOptions { mmap: false, ..Default::default() };
    let file = Checkpoint::open_file(path, options)?;
    file.check_weights()?;
    Ok(Some(Parameters::read(&file, &model.tensors())?))
}

fn state(path: &Path, updates: u64) -> Result<OptimizerState<f32>, SnapshotError> {
    let options = OpenOptions { mmap: false, ..Default::default() };
    let file = Checkpoint::open_file(path, options)?;
    let mut state = OptimizerState { step: updates, ..OptimizerState::default() };
    for tensor in file.names() {
        let info = file.info(tensor)?;
        let part = tensor
            .split_once('.')
            .and_then(|(part, name)| Some((PARTS.iter().position(|p| *p == part)?, name)));
        let (Some((part, name)), FileDtype::F32) = (part, info.dtype) else {
            let (path, found) = (path.into(), format!("{:?}", info.dtype));
            return Err(SnapshotError::State { path, tensor: tensor.into(), found });
        };
        let array = array(&file, tensor, info.shape)?;
        let parts = [&mut state.exp_avg, &mut state.exp_avg_sq, &mut state.momentum_buffer];
        parts.into_iter().nth(part).expect("there is one for each").insert(name, array);
    }
    Ok(state)
}

fn array(file: &Checkpoint, name: &str, shape: &[usize]) -> Result<Array<f32>, SnapshotError> {
    let array = Array::new(shape, file.weight(name, shape)?.decode());
    Ok(array.expect("a tensor that was found has as many elements as its shape"))
}
