//! What a run says on standard error while it goes on.

use std::path::Path;

use indicatif::ProgressBar;
use latent_train::rl::{AnswerStats, RlConfig, RlEvaluation, RlPrepared, RlStepReport, RlWatch};
use latent_train::tasks::Part;

use crate::commands::interrupt::Interrupt;
use crate::commands::{output, progress, units};

/// A bar with reward and length, where standard error is a terminal; a few lines before it.
pub(super) struct Progress {
    bar: ProgressBar,
    resume: bool,
    interrupt: Interrupt,
}

impl Progress {
    pub(super) fn new(config: &RlConfig, resume: bool, interrupt: Interrupt) -> Self {
        let steps = usize::try_from(config.run.steps).unwrap_or(usize::MAX);
        let bar = progress::bar(steps, "{bar:20} {pos}/{len} steps, {msg}, {eta} left");
        bar.set_message("reading");
        Self { bar, resume, interrupt }
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
        let out = run.config.run.out.display();
        let count = |n: usize| units::count(n as u64);
        let grpo = run.loss.grpo;
        self.say(&format!(
            "{} parameters, {} problems to train on, {} held out",
            count(run.base.elements()),
            count(run.task.count(Part::Train)),
            count(run.task.count(Part::HeldOut))
        ));
        self.say(&format!(
            "a step: {} questions, {} answers each, of {} tokens at most; beta {}, epsilon {} and {}; \
             --print-config tells all settings",
            run.config.rollout.questions,
            grpo.num_generations,
            grpo.max_completion_length,
            grpo.beta,
            grpo.epsilon,
            grpo.epsilon_high.unwrap_or(grpo.epsilon)
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

    fn stepped(&mut self, report: &RlStepReport) {
        let stats = report.stats;
        self.bar.set_position(report.step);
        self.bar.set_message(format!(
            "reward {:.3}, {:.1} tokens, {:.0} tok/s",
            stats.reward,
            stats.length,
            stats.tokens as f64 / report.times.whole.as_secs_f64().max(1e-9)
        ));
    }

    fn stop(&mut self) -> bool {
        self.interrupt.asked()
    }

    fn evaluated(&mut self, step: u64, evaluation: &RlEvaluation) {
        self.say(&format!("step {step}, held out: {}", of_stats(&evaluation.stats)));
    }
}
