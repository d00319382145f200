//! `latent report`: the page of an ablation or of runs of reinforcement learning, from what is there.

mod runs;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use latent_train::ablation::{RunResult, read_results};

use self::runs::Kind;
use super::{CommandError, output};
use crate::report::{Page, Sheet, ablation, rl, sheets, summary};

/// The name of a page in the folder of what it is about.
pub(super) const PAGE: &str = "report.html";

/// Make the table and the page of an ablation again, or those of runs of reinforcement learning
///
/// A folder is that of an ablation, with results.jsonl, or that of a run of latent rl, with metrics.jsonl, which may
/// still go on, or one of such runs. They are drawn in one page; those in folders NAME/seed-N are the seeds of NAME,
/// and one curve with their spread.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent report runs/ablation
  latent report runs/a/results.jsonl runs/b/results.jsonl --out report.html
  latent report runs/rl
  latent report runs/gated/seed-* runs/added --out report.html
  latent report runs/rl --plots plots")]
pub(crate) struct ReportArgs {
    /// The folder of an ablation, folders of runs of latent rl, or their files
    #[arg(value_name = "DIR|FILE", required = true)]
    results: Vec<PathBuf>,
    /// The page [default: report.html in the first folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the figures of the page, too, as SVG: a file for each section
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
}

impl ReportArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let first = &self.results[0];
        let kind = Kind::of(first)?;
        for path in &self.results {
            let other = Kind::of(path)?;
            if other != kind {
                let (a, b) = (first.display(), path.display());
                let text = format!("{a} is {kind} and {b} is {other}: a page shows one of both");
                return Err(CommandError::Usage(text));
            }
        }
        let file = self.out.clone().unwrap_or_else(|| {
            let folder = if first.is_dir() { first.clone() } else { PathBuf::from(".") };
            folder.join(PAGE)
        });
        let shown: Vec<String> =
            self.results.iter().map(|path| path.display().to_string()).collect();
        let command = format!("latent report {}", shown.join(" "));
        let (page, table) = match kind {
            Kind::Ablation => {
                let mut results = Vec::new();
                for path in &self.results {
                    results.extend(read_results(path)?);
                }
                (page_of(&results, &[], &command), summary(&results))
            }
            Kind::Rl => {
                let mut runs = Vec::new();
                for path in &self.results {
                    runs.extend(runs::read(path)?);
                }
                (rl::page(&runs, &command), rl::summary(&runs))
            }
        };
        output::write_file(&file, page.render().as_bytes())?;
        if let Some(folder) = &self.plots {
            write_plots(folder, &page)?;
        }
        output::print(&format!("{table}\nreport: {}\n", file.display()))
    }
}

/// Writes the figures of a page into a folder, which is made where it is absent.
fn write_plots(folder: &Path, page: &Page) -> Result<(), CommandError> {
    fs::create_dir_all(folder).map_err(|error| CommandError::io(folder, error))?;
    for Sheet { name, svg } in sheets(page) {
        output::write_file(&folder.join(format!("{name}.svg")), svg.as_bytes())?;
    }
    Ok(())
}

fn page_of(results: &[RunResult], missing: &[String], command: &str) -> Page {
    ablation::page(&ablation::Ablation { title: "Ablation", results, missing, command })
}

/// Writes the page of an ablation.
pub(super) fn write_page(
    page: &Path,
    results: &[RunResult],
    missing: &[String],
    command: &str,
) -> Result<(), CommandError> {
    output::write_file(page, page_of(results, missing, command).render().as_bytes())
}

/// Writes the page of runs of reinforcement learning: of those in a folder, under its usual name. Gives its path.
pub(super) fn write_rl_page_in(folder: &Path) -> Result<PathBuf, CommandError> {
    let (page, command) = (folder.join(PAGE), format!("latent report {}", folder.display()));
    output::write_file(&page, rl::page(&runs::read(folder)?, &command).render().as_bytes())?;
    Ok(page)
}
