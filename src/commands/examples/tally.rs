//! What a file of examples holds.

use std::path::Path;

use latent_train::config::TrainConfigError;
use latent_train::rewards::{Completion, Finish, RewardConfig, Rules};
use latent_train::tasks::{Example, ExamplesConfig};

use crate::commands::units;

/// The kinds, in the order in which they are reported.
const KINDS: [&str; 4] = ["worked", "partial", "guess", "malformed"];

/// Counts of the examples so far.
pub(super) struct Tally {
    rules: Rules,
    /// By [`KINDS`].
    kinds: [u64; 4],
    rewarded: u64,
    bytes: u64,
    longest_bytes: usize,
}

impl Tally {
    pub(super) fn new(config: &ExamplesConfig) -> Result<Self, TrainConfigError> {
        let template = config.examples.template.clone();
        let rules = RewardConfig { template, ..RewardConfig::default() }.rules()?;
        Ok(Self { rules, kinds: [0; 4], rewarded: 0, bytes: 0, longest_bytes: 0 })
    }

    pub(super) fn add(&mut self, example: &Example) {
        for (kind, count) in KINDS.iter().zip(&mut self.kinds) {
            *count += u64::from(*kind == example.label());
        }
        // Nothing in these rules is about length.
        let completion = Completion { text: &example.completion, tokens: 0, finish: Finish::Stop };
        self.rewarded += u64::from(self.rules.judge(&completion, &example.problem).reward > 0.0);
        let bytes = example.prompt.len() + example.completion.len();
        self.bytes += bytes as u64;
        self.longest_bytes = self.longest_bytes.max(bytes);
    }

    /// What there is, and what can be done with it.
    pub(super) fn report(&self, out: &Path) -> String {
        let all: u64 = self.kinds.iter().sum();
        let percent = |count: u64| 100.0 * count as f64 / all.max(1) as f64;
        let mut lines = vec![units::of(all, "example")];
        for (kind, &count) in KINDS.iter().zip(&self.kinds) {
            lines.push(format!(
                "  {kind:<10} {:>10}  {:>5.1} %",
                units::grouped(count),
                percent(count)
            ));
        }
        lines.push(format!(
            "right answers in the right form: {}, {:.1} %",
            units::grouped(self.rewarded),
            percent(self.rewarded)
        ));
        lines.push(format!(
            "tokens of bytes: {}, with the end of each; the longest example has {}",
            units::grouped(self.bytes + all),
            units::grouped(self.longest_bytes as u64 + 1)
        ));
        lines.push(format!("file: {}", out.display()));
        lines.push(String::new());
        // Of sequences so long few examples are cut.
        let length = (2 * (self.longest_bytes + 1)).next_power_of_two();
        lines.push("Next:".into());
        lines.push("  latent train train/tiny.toml --set run.out=runs/base \\".into());
        lines.push(format!("    --set 'data.files=[{:?}]' \\", out.display().to_string()));
        lines.push(format!(
            "    --set data.seq_len={length} --set model.max_position_embeddings={length}"
        ));
        lines.join("\n") + "\n"
    }
}
