//! `latent train`: a model from texts and a file of settings.

mod progress;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use latent_model::ModelError;
use latent_model::kernels::Reference;
use latent_model::kernels::cpu::{Cpu, Isa};
use latent_train::config::{Override, TrainConfig};
use latent_train::{Outcome, train};

use self::progress::Progress;
use super::model_args::at_least_one;
use super::{CommandError, output};

/// Train a model, and leave it where `latent generate` finds it.
///
/// The settings are a TOML file with the sections model, data, optimizer, schedule, loss and run.
/// Checkpoints are written to the folder run.out, and a run that was interrupted goes on from the newest
/// with --resume, to the same bits. Ctrl-C ends it after the step it is at, with a checkpoint; a second
/// one at once. Metrics are beside them: metrics.jsonl, and files for TensorBoard.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent train train/tiny.toml
  latent train train/tiny.toml --resume
  latent train train/tiny.toml --set run.steps=50 --set run.out=runs/short
  latent train train/tiny.toml --set run.dtype=bf16 --set run.out=runs/bf16
  latent train train/tiny.toml --set optimizer.hidden_matrices=muon --set run.out=runs/muon
  latent generate --model runs/tiny/step-00000300 --prompt \"Once upon a time\"")]
pub(crate) struct TrainArgs {
    /// The file of settings
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Go on from the newest checkpoint in run.out, or begin where there is none
    #[arg(long)]
    resume: bool,
    /// Replace a setting of the file; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = replacement)]
    set: Vec<Override>,
    /// What computes; a run goes on to the same bits on the backend it began on
    #[arg(long, value_enum, default_value_t = TrainBackend::Cpu)]
    backend: TrainBackend,
    /// Threads of the processor [default: one for each core]
    #[arg(long, short = 'T', value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
}

/// What computes gradients.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum TrainBackend {
    /// This machine's processor, in f32 or with products in bf16
    Cpu,
    /// Plain, slow, complete: the definition, in f32; with run.dtype=bf16 weights alone are rounded
    Reference,
}

/// A setting that replaces one of the file.
pub(super) fn replacement(text: &str) -> Result<Override, String> {
    text.parse().map_err(|error| format!("{error}"))
}

impl TrainArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let config = TrainConfig::from_file(&self.config, &self.set)?;
        let (out, resume) = (config.run.out.clone(), self.resume);
        let mut progress = Progress::new(&config, resume);
        let outcome = match self.backend {
            TrainBackend::Cpu => {
                let cpu = Cpu::with(Isa::best(), self.threads.unwrap_or_else(Cpu::cores));
                let cpu = config.run.on(cpu.map_err(ModelError::from)?);
                train(cpu, config, resume, &mut progress)
            }
            TrainBackend::Reference if self.threads.is_some() => {
                return Err(CommandError::Usage("--threads wants --backend cpu".into()));
            }
            TrainBackend::Reference => {
                train(Reference::<f32>::new(), config, resume, &mut progress)
            }
        };
        progress.finish();
        let outcome = outcome?;
        if outcome.stopped {
            let Outcome { step, checkpoint, .. } = outcome;
            return Err(CommandError::Interrupted { step, checkpoint });
        }
        output::print(&report(&outcome, &out.display().to_string()))
    }
}

/// What came out, and what can be done with it.
fn report(outcome: &Outcome, out: &str) -> String {
    let Outcome { step, checkpoint, last, evaluation, time, stopped: _ } = outcome;
    let model = checkpoint.display();
    let mut lines = Vec::new();
    match last {
        None => lines.push(format!("all {step} steps were taken before")),
        Some(last) => lines.push(format!(
            "step {step}: loss {:.4}, in {:.1} s of training",
            last.loss,
            time.as_secs_f64()
        )),
    }
    if let Some(found) = evaluation {
        let (loss, perplexity) = (found.loss, found.loss.exp());
        let bits = found.bits_per_byte().map(|bits| format!(", {bits:.4} bits a byte"));
        lines.push(format!(
            "validation: loss {loss:.4}, perplexity {perplexity:.2} a token{}",
            bits.unwrap_or_default()
        ));
    }
    lines.push(format!("model:      {model}"));
    lines.push(format!("metrics:    {out}/metrics.jsonl"));
    lines.push(String::new());
    lines.push("Next:".into());
    lines.push(format!("  latent generate --model {model} --prompt \"Once upon a time\""));
    lines.push(format!("  tensorboard --logdir {out}"));
    lines.join("\n") + "\n"
}
