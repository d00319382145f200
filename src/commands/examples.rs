//! `latent examples`: what a base model reads before it is rewarded.

mod tally;

use std::path::{Path, PathBuf};

use clap::Args;
use latent_train::config::Override;
use latent_train::tasks::{Example, Examples, ExamplesConfig};
use serde_json::json;

use self::tally::Tally;
use super::model_args::at_least_one;
use super::run_args::replacement;
use super::{CommandError, output, progress};

/// Write worked, guessed and broken answers to a task, for a base model to be trained on.
///
/// The settings are a TOML file with the sections task and examples. Each line of the file that is written
/// is an object with the text and its kind (worked, partial, guess or malformed), as `latent train` reads it. It
/// appears as a whole or not at all, in place of one that was there. Problems that the task holds out are in
/// none of the examples.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent examples train/rl/examples.toml --show 5
  latent examples train/rl/examples.toml --out runs/examples.jsonl
  latent examples train/rl/examples.toml --out runs/hard.jsonl --set task.kind.sum.terms=6
  latent train train/tiny.toml --set 'data.files=[\"runs/examples.jsonl\"]' --set data.seq_len=256")]
pub(crate) struct ExamplesArgs {
    /// The file of settings
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// The file to write, whose name ends with .jsonl or .ndjson
    #[arg(long, value_name = "FILE.jsonl", value_parser = json_lines, required_unless_present = "show")]
    out: Option<PathBuf>,
    /// Print the first N examples instead, to be looked at
    #[arg(long, value_name = "N", conflicts_with = "out", value_parser = at_least_one)]
    show: Option<usize>,
    /// Replace a setting of the file; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = replacement)]
    set: Vec<Override>,
}

/// A path with the ending by which training knows JSON lines: any other file would be one long text.
fn json_lines(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    let ending = path.extension().map(std::ffi::OsStr::to_ascii_lowercase);
    if ending.is_some_and(|ending| ending == "jsonl" || ending == "ndjson") {
        Ok(path)
    } else {
        Err("want a name that ends with .jsonl or .ndjson, by which JSON lines are known".into())
    }
}

impl ExamplesArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let config = ExamplesConfig::from_file(&self.config, &self.set)?;
        if let Some(out) = &self.out {
            output::make_folder_of(out)?;
            output::check_writable(out)?;
            return write(&config, out);
        }
        let examples = Examples::new(&config)?;
        let shown = examples.count().min(self.show.unwrap_or(0) as u64);
        output::print(
            &(0..shown).map(|index| shown_as(index, &examples.example(index))).collect::<String>(),
        )
    }
}

/// An example for people, below a line that says what it is.
fn shown_as(index: u64, example: &Example) -> String {
    let defect = example.defect.map(|defect| format!(", {defect}"));
    format!(
        "--- {index}: {}{} ---\n{}\n\n",
        example.label(),
        defect.unwrap_or_default(),
        example.text()
    )
}

fn write(config: &ExamplesConfig, out: &Path) -> Result<(), CommandError> {
    let examples = Examples::new(config)?;
    let mut tally = Tally::new(config)?;
    let count = usize::try_from(examples.count()).unwrap_or(usize::MAX);
    let bar = progress::bar(count, "{bar:30} {pos}/{len} examples, {eta} left");
    let written = output::write_file_by(out, |file| {
        for index in 0..examples.count() {
            let example = examples.example(index);
            writeln!(file, "{}", json!({ "kind": example.label(), "text": example.text() }))?;
            tally.add(&example);
            bar.inc(1);
        }
        Ok(())
    });
    bar.finish_and_clear();
    written?;
    output::print(&tally.report(out))
}
