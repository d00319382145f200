//! What runs of reinforcement learning did, as a page.

use std::path::PathBuf;

use latent_train::rl::RlHistory;
use serde_json::Value;

use super::page::{Block, Page, Section};
use super::settings;
use super::text::plain;
use crate::commands::units;

mod curves;
mod names;
mod overview;
mod quantities;
mod runs;
mod samples;
mod summary;

pub(crate) use summary::summary;

use runs::{Recipe, Recipes};

/// A run that was read.
#[derive(Debug, Clone)]
pub(crate) struct RlRun {
    /// Its folder, by the same path whenever it is the same folder.
    pub(crate) folder: PathBuf,
    pub(crate) history: RlHistory,
    /// Its settings; none where no checkpoint says them, and what is wrong where one should.
    pub(crate) settings: Result<Option<Value>, String>,
}

/// The page of some runs; `command` is the one that makes the same page.
pub(crate) fn page(runs: &[RlRun], command: &str) -> Page {
    let recipes = Recipes::of(runs);
    let mut parts = vec![("Summary", overview::blocks(&recipes))];
    parts.extend(curves::sections(&recipes));
    parts.push(("Answers to the same questions", samples::blocks(&recipes)));
    parts.push(("Settings", of_settings(&recipes)));
    parts.push(("To get this page again", vec![Block::Code(plain(command))]));
    let filled = parts.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    let sections = filled.map(|(heading, blocks)| Section { heading: heading.into(), blocks });
    Page {
        title: "Reinforcement learning".into(),
        lead: lead(&recipes),
        sections: sections.collect(),
    }
}

fn lead(recipes: &Recipes) -> String {
    let runs: Vec<_> = recipes.iter().flat_map(Recipe::runs).collect();
    let steps = runs.iter().filter_map(|run| run.history.steps.last()).map(|point| point.step);
    let what = match (recipes.len(), runs.len()) {
        (_, 1) => "One run".to_owned(),
        (recipes, runs) if recipes == runs => units::of(runs as u64, "run"),
        (1, runs) => format!("One recipe in {}", units::of(runs as u64, "run")),
        (n, runs) => {
            format!("{} in {}", units::of(n as u64, "recipe"), units::of(runs as u64, "run"))
        }
    };
    format!(
        "{what} of up to {}. Answers are judged by rule; the questions that are held out are asked again and \
         again, and never learned from.",
        units::of(steps.max().unwrap_or(0), "step")
    )
}

fn of_settings(recipes: &Recipes) -> Vec<Block> {
    let known = |recipe: &Recipe| {
        let settings = recipe.first().settings.as_ref().ok()?.clone()?;
        Some(settings::Of { cell: recipe.cell(), name: recipe.name.clone(), settings })
    };
    let known: Vec<_> = recipes.iter().filter_map(known).collect();
    let mut blocks = settings::blocks(&known, "run");
    let wrong = recipes.iter().flat_map(Recipe::runs).filter_map(|run| run.settings.as_ref().err());
    blocks.extend(wrong.map(|error| Block::Notice(plain(error))));
    blocks
}
