//! What goes into a checkpoint.

use std::path::Path;

use latent_kernels::Dtype;
use latent_model::checkpoint::{FileDtype, TensorMeta, save, save_file};
use latent_model::config::ModelConfig;

use super::disk::Disk;
use super::{Progress, SnapshotError};
use crate::data::TokenCodec;
use crate::{Array, OptimizerState, Parameters};

pub(super) const OPTIMIZER: &str = "optimizer.safetensors";
pub(super) const REFERENCE: &str = "reference.safetensors";
pub(super) const TRAINER: &str = "trainer.json";

/// The parts of an optimiser's state, by what the names of their tensors begin with.
pub(super) const PARTS: [&str; 3] = ["exp_avg", "exp_avg_sq", "momentum_buffer"];

/// All of a run that its next steps depend on, and what makes its model one that is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Contents<'a> {
    /// The model.
    pub model: &'a ModelConfig,
    /// Its weights.
    pub weights: &'a Parameters<f32>,
    /// Those of the model that it is not to diverge from, where there is one.
    pub reference: Option<&'a Parameters<f32>>,
    /// The optimiser's state, which has taken as many steps as the run has updates.
    pub optimizer: &'a OptimizerState<f32>,
    /// The tokenizer.
    pub codec: &'a TokenCodec,
    /// How far the run is.
    pub progress: &'a Progress,
}

impl Contents<'_> {
    /// Writes all files into the folder `dir`, which is made, and syncs them and the folder.
    ///
    /// # Errors
    /// [`SnapshotError::Config`] when no `config.json` can say what the model is,
    /// [`SnapshotError::Weights`], [`SnapshotError::Tokenizer`] or [`SnapshotError::Io`] when a file
    /// cannot be written.
    pub(super) fn write(&self, dir: &Path, disk: &mut Disk<'_>) -> Result<(), SnapshotError> {
        let config = self.model.to_json()?;
        disk.create_folder(dir)?;
        disk.write(&dir.join("config.json"), config.as_bytes())?;
        let weights = dir.join("model.safetensors");
        disk.announce("write", &weights)?;
        let arrays = named(self.weights);
        save(dir, &metas(&arrays), u64::MAX, |meta, out| out.write_all(&bytes(&arrays, meta)))?;
        if let Some(reference) = self.reference {
            let path = dir.join(REFERENCE);
            disk.announce("write", &path)?;
            let arrays = named(reference);
            save_file(&path, &metas(&arrays), |meta, out| out.write_all(&bytes(&arrays, meta)))?;
        }

        let state = dir.join(OPTIMIZER);
        disk.announce("write", &state)?;
        let arrays = parts(self.optimizer);
        save_file(&state, &metas(&arrays), |meta, out| out.write_all(&bytes(&arrays, meta)))?;

        disk.announce("write a tokenizer to", dir)?;
        self.codec.save(dir)?;
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let path = dir.join(name);
            if path.exists() {
                disk.sync_file(&path)?;
            }
        }
        let path = dir.join(TRAINER);
        let text = serde_json::to_string_pretty(self.progress)
            .map_err(|e| SnapshotError::Progress { path: path.clone(), detail: e.to_string() })?;
        disk.write(&path, format!("{text}\n").as_bytes())?;
        disk.sync_folder(dir)
    }
}

fn named(parameters: &Parameters<f32>) -> Vec<(String, &Array<f32>)> {
    parameters.iter().map(|(name, array)| (name.to_owned(), array)).collect()
}

/// The arrays of a state under the names of their tensors, sorted.
fn parts(state: &OptimizerState<f32>) -> Vec<(String, &Array<f32>)> {
    let of_parts = [&state.exp_avg, &state.exp_avg_sq, &state.momentum_buffer];
    let mut arrays: Vec<_> = PARTS
        .iter()
        .zip(of_parts)
        .flat_map(|(part, arrays)| arrays.iter().map(move |(n, a)| (format!("{part}.{n}"), a)))
        .collect();
    arrays.sort_by(|(a, _), (b, _)| a.cmp(b));
    arrays
}

fn metas(arrays: &[(String, &Array<f32>)]) -> Vec<TensorMeta> {
    let meta = |(name, array): &(String, &Array<f32>)| {
        TensorMeta::new(name, FileDtype::F32, array.shape())
    };
    arrays.iter().map(meta).collect()
}

/// The bytes of the tensor that is asked for; `arrays` are sorted.
fn bytes(arrays: &[(String, &Array<f32>)], meta: &TensorMeta) -> Vec<u8> {
    let at = arrays.binary_search_by(|(name, _)| name.cmp(&meta.name));
    let (_, array) = arrays[at.expect("only tensors that were listed are asked for")];
    Dtype::F32.encode(array.values())
}
