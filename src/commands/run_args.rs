//! The flags of every subcommand that trains by a file of settings.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use latent_train::config::Override;

use super::model_args::at_least_one;

/// Which run, and what computes it.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The file of settings
    #[arg(value_name = "CONFIG.toml")]
    pub(crate) config: PathBuf,
    /// Go on from the newest checkpoint in run.out, or begin where there is none
    #[arg(long)]
    pub(crate) resume: bool,
    /// Replace a setting of the file; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = replacement)]
    pub(crate) set: Vec<Override>,
    /// What computes; a run goes on to the same bits on the backend it began on
    #[arg(long, value_enum, default_value_t = TrainBackend::Cpu)]
    pub(crate) backend: TrainBackend,
    /// Threads; no result depends on it [default: one for each core]
    #[arg(long, short = 'T', value_name = "N", value_parser = at_least_one)]
    pub(crate) threads: Option<usize>,
}

/// What computes gradients.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum TrainBackend {
    /// This machine's processor, in f32 or with products in bf16
    Cpu,
    /// Plain, slow, complete: the definition, in f32; with run.dtype=bf16 weights alone are rounded
    Reference,
}

/// A setting that replaces one of the file.
pub(crate) fn replacement(text: &str) -> Result<Override, String> {
    text.parse().map_err(|error| format!("{error}"))
}
