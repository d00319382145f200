//! `latent ablate`: variants of a model beside each other, as a table and a page.

use std::path::PathBuf;

use clap::Args;
use latent_model::kernels::cpu::{Cpu, Isa};
use latent_train::ablation::{Ablation, AblationConfig, Jobs, RESULTS_FILE, ablate};
use latent_train::config::{Override, TrainConfig};

use super::model_args::at_least_one;
use super::progress::AblationProgress;
use super::report::{PAGE, write_page};
use super::run_args::replacement;
use super::{CommandError, output, units};
use crate::report::summary;

/// Train variants of a model with several seeds, and compare them.
///
/// The settings are those of `latent train` and a section `[ablation]` with what is varied: attention,
/// experts, what keeps them even, multi-token prediction, or any other setting. Variants are as large as the
/// settings are, in total or for a token. The folder run.out takes a folder for each run, a line of
/// results.jsonl for each run that is at its end, and report.html.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent ablate train/ablation.toml
  latent ablate train/ablation.toml --resume
  latent ablate train/ablation.toml --set run.steps=50 --set run.out=runs/short
  latent report runs/ablation")]
pub(crate) struct AblateArgs {
    /// The file of settings
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Go on: runs that are at their end stay, others continue
    #[arg(long)]
    resume: bool,
    /// Replace a setting of the file; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = replacement)]
    set: Vec<Override>,
    /// Runs at once, each with a thread or more; no result depends on it [default: one for each core]
    #[arg(long, short, value_name = "N", value_parser = at_least_one)]
    jobs: Option<usize>,
}

impl AblateArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let config = AblationConfig::from_file(&self.config, &self.set)?;
        let runs = config.runs().count();
        let jobs = Jobs::of(self.jobs.unwrap_or_else(Cpu::cores), runs);
        let jobs = Jobs { threads: (Cpu::cores() / jobs.at_once).max(1), ..jobs };
        let out = config.base.run.out.clone();
        let progress = AblationProgress::new(true);
        progress.say_first(format!(
            "{} with {}, {} at once; writing to {}",
            units::of(config.variants.len() as u64, "variant"),
            units::of(config.seeds.len() as u64, "seed"),
            jobs.at_once,
            out.display()
        ));
        progress.begin(&config);
        progress.save_when_interrupted();
        let cpu = |run: &TrainConfig, threads| Ok(run.run.on(Cpu::with(Isa::best(), threads)?));
        let found = ablate(cpu, &config, jobs, self.resume, &progress);
        progress.finish();
        let Ablation { results, failures, stopped } = found?;
        let mut missing: Vec<String> = failures
            .iter()
            .map(|failure| {
                format!("{} (seed {}): {}", failure.variant, failure.seed, failure.error)
            })
            .collect();
        if stopped {
            missing.push(format!("stopped with {} of {runs} runs at their end", results.len()));
        }
        let page = out.join(PAGE);
        let command = format!("latent ablate {}", self.config.display());
        write_page(&page, &results, &missing, &command)?;
        output::print(&format!(
            "{}\nreport:  {}\nresults: {}\n",
            summary(&results),
            page.display(),
            out.join(RESULTS_FILE).display()
        ))?;
        if stopped {
            return Err(CommandError::Stopped { runs: out });
        }
        if missing.is_empty() { Ok(()) } else { Err(CommandError::Failed(missing.join("\n"))) }
    }
}
