//! What a run says on standard error while it goes on.

use std::path::Path;

use latent_train::rl::{AnswerStats, RlConfig, RlEvaluation, RlPrepared, RlStepReport, RlWatch};
use latent_train::tasks::Part;

use crate::commands::interrupt::Interrupt;
use crate::commands::progress::RunProgress;
use crate::commands::units;

/// A bar with reward and length; a line for each evaluation.
pub(super) struct Progress(RunProgress);

impl Progress {
    pub(super) fn new(config: &RlConfig, resume: bool, interrupt: Interrupt) -> Self {
        Self(RunProgress::new(config.run.steps, resume, interrupt))
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.0.finish();
    }
}

/// What answers are like, in a line.
pub(super) fn of_stats(stats: &AnswerStats) -> String {
    let AnswerStats { accuracy, formed, length, thinking, clipped, .. } = stats;
    format!(
        "{:.1} % right, {:.1} % in form, {length:.1} tokens, {thinking:.1} characters of thought, {:.1} % cut off",
        100.0 * accuracy,
        100.0 * formed,
        100.0 * clipped
    )
}

impl RlWatch for Progress {
    fn begins(&mut self, run: &RlPrepared, from: Option<&Path>, step: u64) {
        let count = |n: usize| units::count(n as u64);
        let grpo = run.loss.grpo;
        self.0.say(&format!(
            "{} parameters, {} problems to train on, {} held out",
            count(run.base.elements()),
            count(run.task.count(Part::Train)),
            count(run.task.count(Part::HeldOut))
        ));
        self.0.say(&format!(
            "a step: {} questions, {} answers each, of {} tokens at most; beta {}, epsilon {} and {}; \
             --print-config tells all settings",
            run.config.rollout.questions,
            grpo.num_generations,
            grpo.max_completion_length,
            grpo.beta,
            grpo.epsilon,
            grpo.epsilon_high.unwrap_or(grpo.epsilon)
        ));
        self.0.begins(&run.config.run.out, from, step);
    }

    fn stepped(&mut self, report: &RlStepReport) {
        let stats = report.stats;
        let speed = stats.tokens as f64 / report.times.whole.as_secs_f64().max(1e-9);
        let (reward, length) = (stats.reward, stats.length);
        let message = format!("reward {reward:.3}, {length:.1} tokens, {speed:.0} tok/s");
        self.0.stepped(report.step, message);
    }

    fn stop(&mut self) -> bool {
        self.0.asked()
    }

    fn evaluated(&mut self, step: u64, evaluation: &RlEvaluation) {
        self.0.say(&format!("step {step}, held out: {}", of_stats(&evaluation.stats)));
    }
}
