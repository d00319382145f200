//! Bars on standard error for work that takes long, invisible when that is not a terminal.

mod ablation;
mod run;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) use ablation::AblationProgress;
pub(crate) use run::RunProgress;

/// A bar over `length` steps, drawn as `template` says in the language of `indicatif`.
pub(crate) fn bar(length: usize, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
    bar
}

/// Room for bars above each other, and the first of them, over `length` steps.
pub(crate) fn bars(length: usize, template: &str) -> (MultiProgress, ProgressBar) {
    let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    let first = bars.add(bar(length, template));
    (bars, first)
}
