//! `latent train`: a model from texts and a file of settings.

mod progress;

use clap::Args;
use latent_model::ModelError;
use latent_model::kernels::Reference;
use latent_model::kernels::cpu::{Cpu, Isa};
use latent_train::config::TrainConfig;
use latent_train::{Outcome, train};

use self::progress::Progress;
use super::run_args::{RunArgs, TrainBackend};
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
    #[command(flatten)]
    run: RunArgs,
}

impl TrainArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let RunArgs { config, resume, set, backend, threads } = self.run;
        let config = TrainConfig::from_file(&config, &set)?;
        let out = config.run.out.clone();
        let mut progress = Progress::new(&config, resume);
        let outcome = match backend {
            TrainBackend::Cpu => {
                let cpu = Cpu::with(Isa::best(), threads.unwrap_or_else(Cpu::cores));
                let cpu = config.run.on(cpu.map_err(ModelError::from)?);
                train(cpu, config, resume, &mut progress)
            }
            TrainBackend::Reference if threads.is_some() => {
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
