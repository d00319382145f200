//! The claims of DeepSeek's papers, each as an experiment with a verdict.
//!
//! A claim says by which rule it is judged before anything is measured. Models are trained by the settings
//! of `latent_train::CLAIMS_TOML`; what takes time is timed in rounds, of which the median counts.

mod balance;
mod cache;
mod decompression;
mod engine;
mod lab;
mod one_layer;
mod quality;
mod reinforcement;
mod sparsity;
mod subjects;
mod thinkers;
mod timing;

use crate::commands::CommandError;

pub(crate) use lab::{Lab, Preset};

/// Something that is claimed, and how it is judged.
pub(crate) struct Claim {
    /// The word that asks for it on the command line.
    pub(crate) name: &'static str,
    /// The claim.
    pub(crate) statement: &'static str,
    /// What was published, with its source.
    pub(crate) published: &'static str,
    /// What the verdict is by.
    pub(crate) rule: &'static str,
    /// The experiment.
    pub(crate) find: fn(&Lab<'_>) -> Result<Finding, CommandError>,
}

/// What an experiment came to.
pub(crate) struct Finding {
    /// Whether the claim holds.
    pub(crate) verdict: Verdict,
    /// The numbers of the verdict, in a sentence.
    pub(crate) here: String,
    /// The numbers behind it: a header and rows.
    pub(crate) table: Vec<Vec<String>>,
}

/// Whether a claim holds here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As its rule says.
    Holds,
    /// Not quite: the rule says how far is near.
    Near,
    /// It does not.
    Fails,
}

impl Verdict {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Near => "near",
            Self::Fails => "fails",
        }
    }

    /// [`Holds`](Self::Holds) or [`Near`](Self::Near) by two conditions, the second weaker.
    fn by(holds: bool, near: bool) -> Self {
        match (holds, near) {
            (true, _) => Self::Holds,
            (_, true) => Self::Near,
            _ => Self::Fails,
        }
    }
}

/// Every claim, in the order in which they are shown: what takes no time comes first.
pub(crate) const CLAIMS: [&Claim; 11] = [
    &engine::CLAIM,
    &cache::CLAIM,
    &decompression::CLAIM,
    &quality::CLAIM,
    &sparsity::CLAIM,
    &subjects::CLAIM,
    &balance::CLAIM,
    &reinforcement::REWARDS,
    &reinforcement::BEGINNING,
    &reinforcement::GROWTH,
    &reinforcement::PROBLEMS,
];

/// The cells of a row.
fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}
