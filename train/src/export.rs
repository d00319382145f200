//! A checkpoint of a run as a model that others load: small, and with what a conversation needs.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use latent_kernels::Dtype;
use latent_model::ModelError;
use latent_model::checkpoint::{Checkpoint, FileDtype, OpenOptions, TensorMeta, save};
use latent_model::config::ModelConfig;
use serde_json::json;

use crate::TrainError;
use crate::config::DtypeKind;
use crate::data::TokenCodec;
use crate::rewards::Template;

/// What an exported model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Its weights.
    pub elements: usize,
    /// The bytes of `model.safetensors`.
    pub bytes: u64,
}

/// Writes the model in the folder `from`, as runs leave it, to the folder `to`: `config.json`,
/// `model.safetensors`, the tokenizer, `generation_config.json`, and with a `template` also
/// `chat_template.jinja`, which asks the last message alone. What only training wants is left out.
///
/// Weights are stored in `dtype`, the biases of routers in 32 bits, as published ones are. The folder
/// gets its name when all is in it.
///
/// # Errors
/// [`TrainError::Io`] when `to` is there and not empty, or a file cannot be written; [`TrainError::Export`] when
/// the model cannot be read or a weight is not finite; [`TrainError::Data`] for its tokenizer.
pub fn export(
    from: &Path,
    to: &Path,
    dtype: DtypeKind,
    template: Option<&Template>,
) -> Result<Exported, TrainError> {
    let partial = partial(to)?;
    let exported = write(from, &partial, dtype, template).and_then(|exported| {
        fs::rename(&partial, to).map_err(|e| TrainError::io(to, e))?;
        Ok(exported)
    });
    if exported.is_err() {
        // The first error is the one to be told.
        let _ = fs::remove_dir_all(&partial);
    }
    exported
}

/// A new folder beside `to`, which is not there or empty.
fn partial(to: &Path) -> Result<std::path::PathBuf, TrainError> {
    let io = |e| TrainError::io(to, e);
    if to.exists() && fs::read_dir(to).map_err(io)?.next().is_some() {
        return Err(io(io::Error::other("is there and not empty, want a new folder")));
    }
    let name = to.file_name().ok_or_else(|| io(io::Error::other("want the name of a folder")))?;
    let partial = to.with_file_name(format!(".{}.partial", name.to_string_lossy()));
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(|e| TrainError::io(&partial, e))?;
    }
    fs::create_dir_all(&partial).map_err(|e| TrainError::io(&partial, e))?;
    Ok(partial)
}

fn write(
    from: &Path,
    to: &Path,
    dtype: DtypeKind,
    template: Option<&Template>,
) -> Result<Exported, TrainError> {
    let (mut config, _) = ModelConfig::from_dir(from).map_err(ModelError::from)?;
    let dtype = match dtype {
        DtypeKind::F32 => (Dtype::F32, FileDtype::F32),
        DtypeKind::Bf16 => (Dtype::Bf16, FileDtype::BF16),
    };
    config.dtype = Some(dtype.0);
    let checkpoint = Checkpoint::open(from, OpenOptions::default()).map_err(ModelError::from)?;
    checkpoint.check_weights().map_err(ModelError::from)?;
    let codec = TokenCodec::from_dir(from)?;
    let specs = config.tensors();
    let stored = |name: &str| match name.ends_with("e_score_correction_bias") {
        true => (Dtype::F32, FileDtype::F32),
        false => dtype,
    };
    let metas: Vec<TensorMeta> = specs
        .iter()
        .map(|spec| TensorMeta::new(&spec.name, stored(&spec.name).1, &spec.shape))
        .collect();
    let written = save(to, &metas, u64::MAX, |meta, out| {
        let weight = checkpoint.weight(&meta.name, &meta.shape).map_err(io::Error::other)?;
        out.write_all(&stored(&meta.name).0.encode(&weight.decode::<f32>()))
    });
    written.map_err(ModelError::from)?;
    let file = |name: &str, text: &str| {
        let path = to.join(name);
        let written = fs::write(&path, text).and_then(|()| File::open(&path)?.sync_all());
        written.map_err(|e| TrainError::io(&path, e))
    };
    file("config.json", &config.to_json().map_err(ModelError::from)?)?;
    codec.save(to)?;
    let eos = match config.eos_token_id.as_slice() {
        [] => json!(codec.end_id()),
        [one] => json!(one),
        many => json!(many),
    };
    let generation = json!({ "do_sample": false, "eos_token_id": eos });
    file("generation_config.json", &format!("{generation:#}\n"))?;
    if let Some(template) = template {
        file("chat_template.jinja", &template.jinja())?;
    }
    let path = to.join("model.safetensors");
    let bytes = path.metadata().map_err(|e| TrainError::io(&path, e))?.len();
    let elements = specs.iter().map(|spec| spec.shape.iter().product::<usize>()).sum();
    Ok(Exported { elements, bytes })
}
