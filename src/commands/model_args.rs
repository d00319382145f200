//! The flags of every subcommand that runs a model.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use latent_model::kernels::{Reference, Scalar};
use latent_model::{Form, LoadOptions, Model};

use super::{CommandError, output};

/// Which model, and how it is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Folder with config.json, *.safetensors and, for text, tokenizer.json
    #[arg(long, short, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// What runs the model
    #[arg(long, value_enum, default_value_t = BackendKind::Reference)]
    pub(crate) backend: BackendKind,
    /// What activations are computed in; weights stay as they are stored
    #[arg(long, value_enum, default_value_t = ComputeDtype::F32)]
    pub(crate) dtype: ComputeDtype,
    /// How latent attention is computed: same function, other order of products
    #[arg(long, value_enum, default_value_t = FormKind::Auto)]
    pub(crate) form: FormKind,
    /// Prompt tokens per forward pass [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) chunk: Option<usize>,
    /// Read files instead of mapping them
    #[arg(long)]
    no_mmap: bool,
    /// Accept tensors that the config does not ask for
    #[arg(long)]
    allow_extra: bool,
    /// Look for NaN and infinities in every weight first
    #[arg(long)]
    check_weights: bool,
}

/// What runs a model.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BackendKind {
    /// Plain, slow, complete: the definition
    Reference,
}

/// What activations are computed in.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ComputeDtype {
    F32,
    F64,
}

/// How latent attention is computed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum FormKind {
    /// Keys and values of every head are made from the latents first
    Expanded,
    /// The query meets the latents themselves
    Absorbed,
    /// The cheaper one for each sequence
    Auto,
}

impl ModelArgs {
    /// Loads the model and prints its warnings.
    pub(crate) fn load<T: Scalar>(&self) -> Result<Model<Reference<T>>, CommandError> {
        let BackendKind::Reference = self.backend;
        let options = LoadOptions {
            mmap: !self.no_mmap,
            allow_extra: self.allow_extra,
            check_weights: self.check_weights,
        };
        let (model, warnings) = Model::load(Reference::new(), &self.model, &options)?;
        output::warn(warnings);
        Ok(model)
    }

    pub(crate) fn form(&self) -> Form {
        match self.form {
            FormKind::Expanded => Form::Expanded,
            FormKind::Absorbed => Form::Absorbed,
            FormKind::Auto => Form::Auto,
        }
    }
}

/// Parses a count of at least 1.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("want at least 1".into()),
        Ok(n) => Ok(n),
        Err(error) => Err(format!("{error}")),
    }
}

/// Token ids as users write them: `1,2,3`.
#[derive(Debug, Clone)]
pub(crate) struct TokenIds(pub(crate) Vec<u32>);

impl std::str::FromStr for TokenIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(|id| id.trim().parse().map_err(|_| format!("token id {id:?}, want a number")))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}
