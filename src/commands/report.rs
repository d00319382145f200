//! `latent report`: the page of an ablation, from the results that are there.

use std::path::{Path, PathBuf};

use clap::Args;
use latent_train::ablation::{RunResult, read_results};

use super::{CommandError, output};
use crate::report::{ablation, summary};

/// Make the table and the page of an ablation again, from its results
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent report runs/ablation
  latent report runs/a/results.jsonl runs/b/results.jsonl --out report.html")]
pub(crate) struct ReportArgs {
    /// The folder of an ablation, or files of results
    #[arg(value_name = "DIR|FILE", required = true)]
    results: Vec<PathBuf>,
    /// The page [default: report.html in the folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ReportArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let mut results = Vec::new();
        for path in &self.results {
            results.extend(read_results(path)?);
        }
        let first = &self.results[0];
        let page = self.out.clone().unwrap_or_else(|| {
            let folder = if first.is_dir() { first.clone() } else { PathBuf::from(".") };
            folder.join("report.html")
        });
        let shown: Vec<String> =
            self.results.iter().map(|path| path.display().to_string()).collect();
        let command = format!("latent report {}", shown.join(" "));
        write_page(&page, &results, &[], &command)?;
        output::print(&format!("{}\nreport: {}\n", summary(&results), page.display()))
    }
}

/// Writes the page of an ablation.
pub(super) fn write_page(
    page: &Path,
    results: &[RunResult],
    missing: &[String],
    command: &str,
) -> Result<(), CommandError> {
    let of = ablation::Ablation { title: "Ablation", results, missing, command };
    output::write_file(page, ablation::page(&of).render().as_bytes())
}
