//! What a run with checkpoints says on standard error while it goes on.

use std::path::Path;

use indicatif::ProgressBar;

use super::bar;
use crate::commands::interrupt::Interrupt;
use crate::commands::output;

/// A bar over a run's steps, where standard error is a terminal; lines above it.
pub(crate) struct RunProgress {
    bar: ProgressBar,
    resume: bool,
    interrupt: Interrupt,
}

impl RunProgress {
    /// For a run of `steps`, which was told to `resume` or to begin. Signals are caught by `interrupt`.
    pub(crate) fn new(steps: u64, resume: bool, interrupt: Interrupt) -> Self {
        let steps = usize::try_from(steps).unwrap_or(usize::MAX);
        let bar = bar(steps, "{bar:20} {pos}/{len} steps, {msg}, {eta} left");
        bar.set_message("reading");
        Self { bar, resume, interrupt }
    }

    /// The run into `out` is prepared and goes on `from` a checkpoint, at `step`. Before, there is nothing
    /// to be saved: a signal ends the program.
    pub(crate) fn begins(&self, out: &Path, from: Option<&Path>, step: u64) {
        let out = out.display();
        match from {
            Some(from) => self.say(&format!("going on from {} at step {step}", from.display())),
            None if self.resume => self.say(&format!("nothing to resume in {out}: beginning")),
            None => {}
        }
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

    /// Step `step` is done, and came to what `message` says.
    pub(crate) fn stepped(&self, step: u64, message: String) {
        self.bar.set_position(step);
        self.bar.set_message(message);
    }

    /// Whether the run was asked to end.
    pub(crate) fn asked(&self) -> bool {
        self.interrupt.asked()
    }

    /// Prints a line, above the bar where there is one.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| output::remark(line));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
