//! `latent export`: a checkpoint of a run as a model to give away.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use latent_train::config::DtypeKind;
use latent_train::export;
use latent_train::rewards::Template;

use super::{CommandError, output, units};

/// Write a checkpoint of a run as a model that others load: without what only training wants, and in bf16.
///
/// The folder gets config.json, model.safetensors, the tokenizer, generation_config.json and, with --template,
/// a chat template, so that latent chat and other programs know how questions are asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent export runs/tiny/step-00000300 --out models/tiny
  latent export runs/rl/step-00000400 --out models/thinker --template tiny
  latent chat --model models/thinker")]
pub(crate) struct ExportArgs {
    /// The folder of a checkpoint, as in runs/tiny/step-00000300
    #[arg(value_name = "DIR")]
    checkpoint: PathBuf,
    /// The new folder
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// What weights are stored in
    #[arg(long, value_enum, default_value_t = Stored::Bf16)]
    dtype: Stored,
    /// What stands around a question: tiny, r1, or a text with {question} in it
    #[arg(long, value_name = "TEXT")]
    template: Option<String>,
}

/// What weights are stored in.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Stored {
    Bf16,
    F32,
}

impl ExportArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let template = self.template.as_deref().map(Template::new).transpose();
        let template =
            template.map_err(|error| CommandError::Usage(format!("--template: {error}")))?;
        let dtype = match self.dtype {
            Stored::Bf16 => DtypeKind::Bf16,
            Stored::F32 => DtypeKind::F32,
        };
        let exported = export(&self.checkpoint, &self.out, dtype, template.as_ref())?;
        let out = self.out.display();
        output::print(&format!(
            "{out}: {} parameters, {} bytes\n\nNext:\n  latent {} --model {out}\n",
            units::count(exported.elements as u64),
            units::count(exported.bytes),
            if template.is_some() { "chat" } else { "generate" }
        ))
    }
}
