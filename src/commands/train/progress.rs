//! What a run says on standard error while it goes on.

use std::path::Path;

use latent_train::config::TrainConfig;
use latent_train::{Evaluation, Prepared, StepReport, Watch};

use crate::commands::interrupt::Interrupt;
use crate::commands::progress::RunProgress;
use crate::commands::units;

/// A bar with the loss and the speed; a line for each evaluation.
pub(super) struct Progress(RunProgress);

impl Progress {
    pub(super) fn new(config: &TrainConfig, resume: bool) -> Self {
        Self(RunProgress::new(config.run.steps, resume, Interrupt::default()))
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish();
    }
}

impl Watch for Progress {
    fn begins(&mut self, run: &Prepared, parameters: usize, from: Option<&Path>, step: u64) {
        let count = |n: usize| units::count(n as u64);
        let (train, validation) = (run.train.tokens(), run.validation.tokens());
        self.0.say(&format!(
            "{} parameters, {} tokens to train on, {} to validate with",
            count(parameters),
            count(train),
            count(validation)
        ));
        self.0.begins(&run.config.run.out, from, step);
    }

    fn stepped(&mut self, report: &StepReport) {
        let speed = report.tokens as f64 / report.time.as_secs_f64().max(1e-9);
        self.0.stepped(report.step, format!("loss {:.4}, {speed:.0} tok/s", report.loss));
    }

    fn stop(&mut self) -> bool {
        self.0.asked()
    }

    fn evaluated(&mut self, step: u64, evaluation: &Evaluation) {
        let Evaluation { loss, targets, .. } = evaluation;
        self.0.say(&format!("step {step}: validation loss {loss:.4} over {targets} tokens"));
    }
}
