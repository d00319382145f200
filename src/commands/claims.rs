//! `latent claims`: what DeepSeek's papers claim, measured here.

mod page;
mod text;

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use latent_train::config::Override;

use super::progress::AblationProgress;
use super::run_args::replacement;
use super::{CommandError, output};
use crate::claims::{CLAIMS, Claim, Finding, Lab, Preset, Verdict};

/// Hold the claims of DeepSeek's papers to experiments, each with a verdict.
///
/// Each claim is shown as it comes, with what was published, what is found here, and the rule of its
/// verdict, which was there before. Small models are trained for some of them; all chance comes from seeds.
/// A page with the plots is left behind.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent claims                      minutes: two seeds, 0.2 M tokens each
  latent claims balance quality
  latent claims --full               hours: three seeds, 20 M tokens each; goes on where it was
  latent claims --set run.steps=100 --set 'ablation.seeds=[5]'
  latent claims rewards --set rl.run.steps=100 --set rl.grpo.beta=0")]
pub(crate) struct ClaimsArgs {
    /// The claims [default: all]
    #[arg(value_name = "CLAIM", value_parser = PossibleValuesParser::new(CLAIMS.map(|claim| claim.name)))]
    claims: Vec<String>,
    /// Small, in minutes: this is the default
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// Three seeds of 20 M tokens, over hours; runs are kept, and the same command goes on
    #[arg(long)]
    full: bool,
    /// Where the page goes, and the runs of --full
    #[arg(long, value_name = "DIR", default_value = "runs/claims")]
    out: PathBuf,
    /// Replace a setting of the runs, or with rl. before it of reinforcement learning; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = replacement)]
    set: Vec<Override>,
}

impl ClaimsArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let preset = if self.full { Preset::Full } else { Preset::Quick };
        let asked = |claim: &&&Claim| {
            self.claims.is_empty() || self.claims.iter().any(|name| name == claim.name)
        };
        let claims: Vec<&Claim> = CLAIMS.iter().filter(asked).copied().collect();
        run(&claims, preset, &self.out, &self.set)
    }
}

/// All claims, quickly, as `latent` alone shows them.
pub(crate) fn quick() -> Result<(), CommandError> {
    run(&CLAIMS, Preset::Quick, Path::new("runs/claims"), &[])
}

fn run(
    claims: &[&Claim],
    preset: Preset,
    out: &Path,
    set: &[Override],
) -> Result<(), CommandError> {
    let temporary =
        tempfile::tempdir().map_err(|error| CommandError::io(&std::env::temp_dir(), error))?;
    let runs = match preset {
        Preset::Quick => temporary.path(),
        Preset::Full => out,
    };
    let page = out.join("report.html");
    std::fs::create_dir_all(out).map_err(|error| CommandError::io(out, error))?;
    output::check_writable(&page)?;
    let progress = AblationProgress::new(false);
    let stop = || progress.interrupted();
    let lab = Lab::new(preset, runs, set, &progress, &stop)?;
    progress.begin(lab.config());
    if preset == Preset::Full {
        progress.save_when_interrupted();
    }
    let mut found: Vec<(&Claim, Finding)> = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        let finding = (claim.find)(&lab)?;
        progress.suspend(|| output::print(&text::of(index + 1, claim, &finding)))?;
        found.push((claim, finding));
    }
    progress.finish();
    output::write_file(&page, page::of(&lab, &found).render().as_bytes())?;
    output::print(&format!("{}\npage: {}\n", text::summary(&found), page.display()))?;
    let broken = |(claim, finding): &&(&Claim, Finding)| {
        claim.name == "conformance" && finding.verdict != Verdict::Holds
    };
    match found.iter().find(broken) {
        None => Ok(()),
        Some((claim, finding)) => {
            Err(CommandError::Failed(format!("{}: {}", claim.name, finding.here)))
        }
    }
}
