//! From a published folder to a model.

use std::collections::BTreeMap;
use std::path::Path;

use latent_mla::Attend;
use latent_moe::Experts;

use crate::checkpoint::{self, Checkpoint, VerifyOptions};
use crate::config::{ModelConfig, Quantization};
use crate::tensors::{EMBEDDING, HEAD};
use crate::{Model, ModelError};

/// How a folder is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadOptions {
    /// Map the files into memory, so that only what is used is read; otherwise each file is read
    /// once as a whole. A mapped file must not be changed while the model lives.
    pub mmap: bool,
    /// Accept tensors that the config does not ask for.
    pub allow_extra: bool,
    /// Look for NaN and infinities in every weight: reads the whole checkpoint.
    pub check_weights: bool,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { mmap: true, allow_extra: false, check_weights: false }
    }
}

/// How much of a checkpoint a backend has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadProgress {
    /// The stored bytes of the weights so far, without block scales.
    pub bytes: usize,
    /// Those of all weights.
    pub total: usize,
}

impl<B: Attend + Experts> Model<B> {
    /// Loads `config.json` and the safetensors files of `dir`, and returns what is odd about them
    /// without being wrong.
    ///
    /// Weights stay in their stored dtype and, where the backend can use them so, in the mapped
    /// file: nothing is held twice.
    ///
    /// # Errors
    /// [`ModelError::Config`] or [`ModelError::Checkpoint`], which name the file, the field or the
    /// tensor, what was found and what is wanted.
    pub fn load(
        backend: B,
        dir: &Path,
        options: &LoadOptions,
    ) -> Result<(Self, Vec<String>), ModelError> {
        Self::load_observed(backend, dir, options, &mut |_| {})
    }

    /// [`load`](Self::load), which tells `observe` how far it is before each weight and at the end.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn load_observed(
        backend: B,
        dir: &Path,
        options: &LoadOptions,
        observe: &mut dyn FnMut(LoadProgress),
    ) -> Result<(Self, Vec<String>), ModelError> {
        let (config, warnings) = ModelConfig::from_dir(dir)?;
        let mut open = checkpoint::OpenOptions { mmap: options.mmap, ..Default::default() };
        if let Some(Quantization::Fp8 { block }) = config.quantization {
            open.block = block;
        }
        let checkpoint = Checkpoint::open(dir, open)?;
        let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
        warnings.extend(checkpoint.warnings().iter().map(ToString::to_string));
        let wanted = config.tensors();
        let verify = VerifyOptions {
            allow_extra: options.allow_extra,
            ignore_prefixes: config.repeated_tensors(),
        };
        checkpoint.verify(&wanted, &verify)?;
        if options.check_weights {
            checkpoint.check_weights()?;
        }
        if config.tie_word_embeddings && !head_is_embedding(&checkpoint, &config)? {
            warnings.push(format!(
                "{HEAD} is not used: the config ties the head to {EMBEDDING}, which differs from it"
            ));
        }
        let stored = |name: &str| checkpoint.info(name).map(|info| info.bytes);
        let total = wanted.iter().map(|spec| stored(&spec.name)).sum::<Result<usize, _>>()?;
        let shapes: BTreeMap<String, Vec<usize>> =
            wanted.into_iter().map(|spec| (spec.name, spec.shape)).collect();
        let mut bytes = 0;
        let model = Model::new(backend, config, &mut |name| {
            observe(LoadProgress { bytes, total });
            let weight = checkpoint.weight(name, shapes.get(name).map_or(&[], Vec::as_slice))?;
            bytes += stored(name)?;
            Ok(weight)
        })?;
        observe(LoadProgress { bytes, total });
        Ok((model, warnings))
    }
}

/// Whether a head in the files, if there is one, is the embedding once more.
fn head_is_embedding(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<bool, ModelError> {
    if checkpoint.names().all(|name| name != HEAD) {
        return Ok(true);
    }
    let weight = |name| checkpoint.weight(name, &[config.vocab_size, config.hidden_size]);
    let (embedding, head) = (weight(EMBEDDING)?, weight(HEAD)?);
    Ok(embedding.dtype() == head.dtype() && embedding.bytes().as_slice() == head.bytes().as_slice())
}
