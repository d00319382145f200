//! What a run says on standard error while it goes on.

use std::path::Path;

use indicatif::ProgressBar;
use latent_train::config::TrainConfig;
use latent_train::{Evaluation, Prepared, StepReport, Watch};

use crate::commands::interrupt::Interrupt;
use crate::commands::{output, progress, units};

/// A bar with the loss and the speed, where standard error is a terminal; a few lines before it.
pub(super) struct Progress {
    bar: ProgressBar,
    resume: bool,
    interrupt: Interrupt,
}

impl Progress {
    pub(super) fn new(config: &TrainConfig, resume: bool) -> Self {
        let steps = usize::try_from(config.run.steps).unwrap_or(usize::MAX);
        let bar = progress::bar(steps, "{bar:30} {pos}/{len} steps, {msg}, {eta} left");
        bar.set_message("reading");
        Self { bar, resume, interrupt: Interrupt::default() }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints a line, above the bar where there is one.
    fn say(&self, line: &str) {
        self.bar.suspend(|| output::remark(line));
    }
}

impl Watch for Progress {
    fn begins(&mut self, run: &Prepared, parameters: usize, from: Option<&Path>, step: u64) {
        let out = run.config.run.out.display();
        let count = |n: usize| units::count(n as u64);
        let (train, validation) = (run.train.tokens(), run.validation.tokens());
        self.say(&format!(
            "{} parameters, {} tokens to train on, {} to validate with",
            count(parameters),
            count(train),
            count(validation)
        ));
        match from {
            Some(from) => self.say(&format!("going on from {} at step {step}", from.display())),
            None if self.resume => self.say(&format!("nothing to resume in {out}: beginning")),
            None => {}
        }
        // Before, there is nothing to be saved: a signal ends the program.
        let bar = self.bar.clone();
        let caught = self.interrupt.catch(move || {
            bar.suspend(|| output::remark("ending after this step; once more to end at once"));
        });
        if let Err(error) = caught {
            self.say(&format!("warning: Ctrl-C will end the run without a checkpoint: {error}"));
        }
        self.say(&format!("writing to {out}; if interrupted, go on with --resume"));
        self.bar.set_position(step);
        self.bar.reset_eta();
    }

    fn stepped(&mut self, report: &StepReport) {
        let speed = report.tokens as f64 / report.time.as_secs_f64().max(1e-9);
        self.bar.set_position(report.step);
        self.bar.set_message(format!("loss {:.4}, {speed:.0} tok/s", report.loss));
    }

    fn stop(&mut self) -> bool {
        self.interrupt.asked()
    }

    fn evaluated(&mut self, step: u64, evaluation: &Evaluation) {
        let Evaluation { loss, targets, .. } = evaluation;
        self.say(&format!("step {step}: validation loss {loss:.4} over {targets} tokens"));
    }
}
