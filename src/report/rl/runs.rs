//! Runs by recipe: those that differ in their seed alone are one.

use std::collections::BTreeSet;
use std::path::Path;

use latent_train::rl::{AnswerStats, RlStepPoint};

use super::{RlRun, names};
use crate::report::page::{Block, Cell, Key};
use crate::report::series;
use crate::report::statistics::Sample;
use crate::report::text::plain;

/// The most points of a curve.
const POINTS: usize = 200;

/// All recipes, in the order in which they come.
pub(super) struct Recipes<'a>(Vec<Recipe<'a>>);

/// Runs of the same settings.
pub(super) struct Recipe<'a> {
    /// From 1.
    number: usize,
    pub(super) name: String,
    /// Whether there are others.
    alone: bool,
    /// A run for each seed; never none.
    runs: Vec<&'a RlRun>,
}

/// Runs with their seeds, where these are known.
type Seeded<'a> = Vec<(Option<u64>, &'a RlRun)>;

impl<'a> Recipes<'a> {
    pub(super) fn of(runs: &'a [RlRun]) -> Self {
        let mut known = BTreeSet::new();
        let mut recipes: Vec<(&Path, Seeded<'a>)> = Vec::new();
        for run in runs.iter().filter(|run| known.insert(&run.folder)) {
            let (folder, seed) = names::of_seed(&run.folder);
            match recipes.iter_mut().find(|(other, _)| *other == folder) {
                Some((_, runs)) => runs.push((seed, run)),
                None => recipes.push((folder, vec![(seed, run)])),
            }
        }
        let folders: Vec<&Path> = recipes.iter().map(|(folder, _)| *folder).collect();
        let (names, alone) = (names::names(&folders), recipes.len() == 1);
        let recipe = |(i, ((_, mut runs), name)): (usize, ((&Path, Seeded<'a>), String))| {
            runs.sort_by_key(|(seed, _)| *seed);
            let runs = runs.into_iter().map(|(_, run)| run).collect();
            Recipe { number: i + 1, name: plain(&name), alone, runs }
        };
        Self(recipes.into_iter().zip(names).enumerate().map(recipe).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Recipe<'a>> + Clone {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// As many recipes at a time as there are colours.
    pub(super) fn at_a_time(&self, blocks: impl FnMut(&[&Recipe<'a>]) -> Vec<Block>) -> Vec<Block> {
        series::at_a_time(&self.0, "Run", blocks)
    }
}

impl<'a> Recipe<'a> {
    /// The run of the first seed.
    pub(super) fn first(&self) -> &'a RlRun {
        self.runs[0]
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = &'a RlRun> {
        self.runs.iter().copied()
    }

    /// Its number where there are others, and its name.
    pub(super) fn title(&self) -> String {
        if self.alone { self.name.clone() } else { format!("{} {}", self.number, self.name) }
    }

    pub(super) fn slot(&self) -> usize {
        series::slot(self.number)
    }

    pub(super) fn cell(&self) -> Cell {
        let slot = (!self.alone).then(|| self.slot());
        Cell { text: self.title(), strong: false, slot }
    }

    pub(super) fn key(&self) -> Key {
        Key { slot: self.slot(), name: self.title() }
    }

    /// A number of each run that has it.
    pub(super) fn sample(&self, value: impl Fn(&RlRun) -> Option<f64>) -> Sample {
        self.runs().filter_map(value).collect()
    }

    /// A number of each run's first evaluation, and one of its last.
    pub(super) fn before_and_after(&self, of: impl Fn(&AnswerStats) -> f64) -> [Sample; 2] {
        [0, 1].map(|place| {
            self.sample(|run| Some(of(&run.history.before_and_after()?[place].1.stats)))
        })
    }

    /// A curve of each run over its steps: at most so many points, each the mean of as many steps. Steps without the
    /// value are left out.
    pub(super) fn over_steps(
        &self,
        of: impl Fn(&RlStepPoint) -> Option<f64>,
    ) -> Vec<Vec<(f64, f64)>> {
        let curve = |run: &RlRun| {
            let point = |steps: &[RlStepPoint]| {
                let mean = steps.iter().filter_map(&of).collect::<Sample>().mean()?;
                Some((steps.last()?.step as f64, mean))
            };
            run.history.steps.chunks(stretch(run)).filter_map(point).collect()
        };
        self.runs().map(curve).collect()
    }

    /// The steps of its longest run.
    pub(super) fn longest(&self) -> usize {
        self.runs().map(|run| run.history.steps.len()).max().unwrap_or(0)
    }

    /// The most steps that a point of its curves is the mean of.
    pub(super) fn stretch(&self) -> usize {
        self.runs().map(stretch).max().unwrap_or(1)
    }

    /// A curve of each run over its evaluations, of which at most so many are taken.
    pub(super) fn over_evaluations(
        &self,
        of: impl Fn(&AnswerStats) -> Option<f64>,
    ) -> Vec<Vec<(f64, f64)>> {
        let curve = |run: &RlRun| {
            let all = &run.history.evaluations;
            let every = all.len().div_ceil(POINTS).max(1);
            // The last is among them.
            let taken = all.iter().rev().step_by(every).rev();
            taken.filter_map(|(step, found)| Some((*step as f64, of(&found.stats)?))).collect()
        };
        self.runs().map(curve).collect()
    }
}

fn stretch(run: &RlRun) -> usize {
    run.history.steps.len().div_ceil(POINTS).max(1)
}
