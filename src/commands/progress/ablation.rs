//! What an ablation says on standard error while it goes on.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar};
use latent_train::ablation::{AblationConfig, AblationWatch, Failure, RunResult, Variant};
use latent_train::config::TrainConfig;
use latent_train::{Prepared, StepReport, Watch};

use super::{bar, bars};
use crate::commands::interrupt::Interrupt;
use crate::commands::output;

/// A bar for the steps of all runs and one for each run that goes on, where standard error is a terminal.
pub(crate) struct AblationProgress {
    bars: MultiProgress,
    all: ProgressBar,
    /// Whether each run that ends is told by a line.
    lines: bool,
    /// What is said before the first run.
    first: Mutex<Option<String>>,
    interrupt: Interrupt,
}

impl AblationProgress {
    /// With a line for each run that ends, or without.
    pub(crate) fn new(lines: bool) -> Self {
        let (bars, all) = bars(0, "{bar:30} {pos}/{len} steps of all runs, {eta} left");
        Self { bars, all, lines, first: Mutex::default(), interrupt: Interrupt::default() }
    }

    /// From now on Ctrl-C ends runs after their steps, with a checkpoint.
    pub(crate) fn save_when_interrupted(&self) {
        let bars = self.bars.clone();
        let caught = self.interrupt.catch(move || {
            bars.suspend(|| output::remark("ending after these steps; once more to end at once"));
        });
        if let Err(error) = caught {
            self.say(&format!("warning: Ctrl-C will end runs without a checkpoint: {error}"));
        }
    }

    /// Whether the runs are to end early.
    pub(crate) fn interrupted(&self) -> bool {
        self.interrupt.asked()
    }

    /// Begins to count the steps of an ablation.
    pub(crate) fn begin(&self, config: &AblationConfig) {
        self.all.set_length(config.runs().map(|(_, run)| run.run.steps).sum());
        self.all.enable_steady_tick(Duration::from_secs(1));
        self.all.reset_eta();
    }

    /// Says `line` before the first run, and nothing where there is none.
    pub(crate) fn say_first(&self, line: String) {
        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
    }

    fn begun(&self) {
        if let Some(line) = self.first.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.say(&line);
        }
    }

    /// Takes the bars away.
    pub(crate) fn finish(&self) {
        self.all.finish_and_clear();
    }

    /// Prints something, above the bars where there are any.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bars.suspend(print)
    }

    fn say(&self, line: &str) {
        self.suspend(|| output::remark(line));
    }
}

impl AblationWatch for AblationProgress {
    fn begins(&self, variant: &Variant, config: &TrainConfig) -> Box<dyn Watch + '_> {
        self.begun();
        let steps = usize::try_from(config.run.steps).unwrap_or(usize::MAX);
        let bar = self.bars.add(bar(steps, "{bar:30} {pos}/{len} {msg}"));
        let name = format!("{} (seed {})", variant.name, config.run.seed);
        bar.set_message(name.clone());
        Box::new(Run { bar, name, all: &self.all, interrupt: &self.interrupt })
    }

    fn finished(&self, result: &RunResult, before: bool) {
        self.begun();
        let RunResult { variant, seed, loss, steps, .. } = result;
        if before {
            self.all.inc(*steps);
            self.all.reset_eta();
        }
        if self.lines {
            let when = if before { ", from before" } else { "" };
            self.say(&format!("{variant} (seed {seed}): validation loss {loss:.4}{when}"));
        }
    }

    fn failed(&self, failure: &Failure) {
        let Failure { variant, seed, error } = failure;
        if self.lines {
            self.say(&format!("{variant} (seed {seed}): {error}"));
        }
    }
}

/// A run that goes on.
struct Run<'a> {
    bar: ProgressBar,
    name: String,
    all: &'a ProgressBar,
    interrupt: &'a Interrupt,
}

impl Watch for Run<'_> {
    fn begins(&mut self, _: &Prepared, _: usize, _: Option<&Path>, step: u64) {
        self.bar.set_position(step);
        self.all.inc(step);
    }

    fn stepped(&mut self, report: &StepReport) {
        let speed = report.tokens as f64 / report.time.as_secs_f64().max(1e-9);
        self.bar.set_position(report.step);
        self.bar.set_message(format!("{}, loss {:.4}, {speed:.0} tok/s", self.name, report.loss));
        self.all.inc(1);
    }

    fn stop(&mut self) -> bool {
        self.interrupt.asked()
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
