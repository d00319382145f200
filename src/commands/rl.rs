//! `latent rl`: a model that learns to think from rewards by rule.

mod progress;

use std::path::Path;

use clap::Args;
use latent_model::ModelError;
use latent_model::config::ModelConfig;
use latent_model::kernels::Reference;
use latent_model::kernels::cpu::{Cpu, Isa};
use latent_train::rl::{RlConfig, RlOutcome, RlPlan, rl};

use self::progress::Progress;
use super::interrupt::Interrupt;
use super::report::write_rl_page_in;
use super::run_args::{RunArgs, TrainBackend};
use super::{CommandError, output};

/// The parameters up to which each thread computes answers of its own.
const SMALL: usize = 50_000_000;

/// Reinforcement learning from rewards for form and match alone, as DeepSeek-R1-Zero's.
///
/// The settings are a TOML file with the sections base, task, reward, grpo, rollout, balance, optimizer, schedule
/// and run; keys of grpo are named as in TRL's GRPOConfig. With a section ablation there is a run for each of its
/// variants and seeds, one after the other. Checkpoints are written to the folder run.out, and a
/// run that was interrupted goes on from the newest with --resume, to the same bits. Ctrl-C ends it after the
/// step it is at, with a checkpoint; a second one at once. Metrics and sample answers are beside them: metrics.jsonl,
/// files for TensorBoard, and in the end report.html, which latent report makes at any time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent rl train/rl/zero.toml
  latent rl train/rl/zero.toml --resume
  latent rl train/rl/zero.toml --set run.steps=50 --set run.out=runs/short
  latent rl train/rl/zero.toml --set grpo.beta=0 --set reward.mode=added --set run.out=runs/added
  latent rl train/rl/zero.toml --print-config
  latent report runs/zero/rl")]
pub(crate) struct RlArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Print all settings, those that are not in the file with their defaults, and do nothing
    #[arg(long)]
    print_config: bool,
}

impl RlArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let plan = RlPlan::from_file(&self.run.config, &self.run.set)?;
        if self.print_config {
            let texts: Vec<String> = plan.runs.iter().map(RlConfig::to_toml).collect();
            return output::print(&texts.join("\n"));
        }
        let interrupt = Interrupt::default();
        let count = plan.runs.len();
        let mut ended = Ok(());
        for (index, config) in plan.runs.into_iter().enumerate() {
            if count > 1 {
                output::remark(format_args!(
                    "run {} of {count}: {}",
                    index + 1,
                    config.run.out.display()
                ));
            }
            ended = self.run_one(config, &interrupt);
            if ended.is_err() {
                break;
            }
        }
        if count > 1 && matches!(ended, Ok(()) | Err(CommandError::Interrupted { .. })) {
            let page = write_report(&plan.out);
            output::print(&page.map_or_else(String::new, |page| format!("all runs:   {page}\n")))?;
        }
        ended
    }

    fn run_one(&self, config: RlConfig, interrupt: &Interrupt) -> Result<(), CommandError> {
        let threads = self.run.threads.unwrap_or_else(Cpu::cores);
        let (out, resume) = (config.run.out.clone(), self.run.resume);
        let mut progress = Progress::new(&config, resume, interrupt.clone());
        let outcome = match self.run.backend {
            TrainBackend::Cpu => rl(processors(&config, threads)?, config, resume, &mut progress),
            TrainBackend::Reference => {
                rl(vec![Reference::<f32>::new(); threads], config, resume, &mut progress)
            }
        };
        progress.finish();
        let outcome = outcome?;
        let page = write_report(&out);
        if outcome.stopped {
            let RlOutcome { step, checkpoint, .. } = outcome;
            output::print(&page.map_or_else(String::new, |page| format!("report:     {page}\n")))?;
            return Err(CommandError::Interrupted { step, checkpoint });
        }
        output::print(&report(&outcome, &out.display().to_string(), page))
    }
}

/// Writes the page of the runs in this folder, and gives its path. A run is no failure where that cannot be done.
fn write_report(out: &Path) -> Option<String> {
    let written = write_rl_page_in(out);
    output::warn(written.as_ref().err());
    written.ok().map(|page| page.display().to_string())
}

/// What computes a run on this machine: a processor for each thread where the model is small, most of whose
/// operations are too short to be shared; one of all threads where it is not.
pub(crate) fn processors(config: &RlConfig, threads: usize) -> Result<Vec<Cpu>, CommandError> {
    let (model, _) = ModelConfig::from_dir(&config.base.model)?;
    let elements: usize =
        model.tensors().iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
    let (count, each) = if elements <= SMALL { (threads, 1) } else { (1, threads) };
    let cpus = (0..count).map(|_| Ok(config.run.on(Cpu::with(Isa::best(), each)?)));
    cpus.collect::<Result<_, _>>()
        .map_err(|error: latent_model::kernels::KernelError| ModelError::from(error).into())
}

/// What came out, and what can be done with it.
fn report(outcome: &RlOutcome, out: &str, page: Option<String>) -> String {
    let RlOutcome { step, checkpoint, last, evaluations, time, stopped: _ } = outcome;
    let model = checkpoint.display();
    let mut lines = Vec::new();
    match last {
        None => lines.push(format!("all {step} steps were taken before")),
        Some(last) => lines.push(format!(
            "step {step}: reward {:.3}, in {:.1} s",
            last.stats.reward,
            time.as_secs_f64()
        )),
    }
    for (step, found) in evaluations.iter().flatten() {
        lines.push(format!("held out, step {step}: {}", progress::of_stats(&found.stats)));
    }
    lines.push(format!("model:      {model}"));
    lines.push(format!("metrics:    {out}/metrics.jsonl"));
    lines.extend(page.map(|page| format!("report:     {page}")));
    lines.push(String::new());
    lines.push("Next:".into());
    lines.push(format!("  tensorboard --logdir {out}"));
    lines.join("\n") + "\n"
}
