//! The models that learn to think from rewards, for the claims about them.

use std::fs;
use std::path::Path;

use indicatif::ProgressBar;
use latent_model::kernels::cpu::Cpu;
use latent_train::ZERO_TOML;
use latent_train::config::Override;
use latent_train::rl::{
    RlConfig, RlEvaluation, RlHistory, RlPrepared, RlStepReport, RlWatch, read_history, rl,
};

use super::Preset;
use crate::bundled;
use crate::commands::{CommandError, processors, progress};

/// What a quick run has less of than [`ZERO_TOML`].
const QUICK: [&str; 3] = ["run.steps=30", "run.eval_every=3", "run.checkpoint_every=30"];

/// How many seeds there are.
fn seeds(preset: Preset) -> u64 {
    match preset {
        Preset::Quick => 1,
        Preset::Full => 3,
    }
}

/// Trains a model for each seed in the folder `runs`; what is there stays, and goes on.
pub(super) fn train(
    preset: Preset,
    runs: &Path,
    set: &[Override],
    stop: &dyn Fn() -> bool,
) -> Result<Vec<RlHistory>, CommandError> {
    let base = runs.join("zero-base");
    fs::create_dir_all(&base).map_err(|error| CommandError::io(&base, error))?;
    bundled::ZERO_BASE.write(&base)?;
    let quick: &[&str] = if preset == Preset::Quick { &QUICK } else { &[] };
    let mut overrides: Vec<Override> =
        quick.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    overrides.extend_from_slice(set);
    let mut histories = Vec::new();
    for seed in 0..seeds(preset) {
        let mut config = RlConfig::from_toml(ZERO_TOML, &overrides)?;
        config.base.model.clone_from(&base);
        config.run.seed = seed;
        config.run.out = runs.join("zero").join(format!("seed-{seed}"));
        let out = config.run.out.clone();
        let cpus = processors(&config, Cpu::cores())?;
        let mut watch = Bar { bar: ProgressBar::hidden(), seed, stop };
        let outcome = rl(cpus, config, true, &mut watch);
        watch.bar.finish_and_clear();
        if outcome?.stopped {
            return Err(CommandError::Stopped { runs: runs.into() });
        }
        histories.push(read_history(&out)?);
    }
    Ok(histories)
}

/// A bar with what is right so far.
struct Bar<'a> {
    bar: ProgressBar,
    seed: u64,
    stop: &'a dyn Fn() -> bool,
}

impl RlWatch for Bar<'_> {
    fn begins(&mut self, run: &RlPrepared, _: Option<&Path>, step: u64) {
        let steps = usize::try_from(run.config.run.steps).unwrap_or(usize::MAX);
        self.bar = progress::bar(steps, "{bar:30} {pos}/{len} steps of rewards, {msg}, {eta} left");
        self.bar.set_message(format!("seed {}", self.seed));
        self.bar.set_position(step);
    }

    fn stepped(&mut self, report: &RlStepReport) {
        self.bar.set_position(report.step);
    }

    fn evaluated(&mut self, _: u64, found: &RlEvaluation) {
        let right = 100.0 * found.stats.accuracy;
        self.bar.set_message(format!("seed {}, {right:.1} % right", self.seed));
    }

    fn stop(&mut self) -> bool {
        (self.stop)()
    }
}
