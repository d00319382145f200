//! The runs of an ablation by variant.

use latent_train::ablation::RunResult;

use crate::commands::units;
use crate::report::page::{Block, Cell, Key};
use crate::report::series;
use crate::report::statistics::{Sample, paired};
use crate::report::text::plain;

/// All variants, in the order in which they come.
pub(in crate::report) struct Variants<'a>(Vec<Variant<'a>>);

/// A variant and its runs.
pub(in crate::report) struct Variant<'a> {
    /// From 1: what it is called in figures.
    pub(in crate::report) number: usize,
    pub(in crate::report) name: String,
    /// A run for each seed; never none.
    runs: Vec<&'a RunResult>,
}

impl<'a> Variants<'a> {
    pub(in crate::report) fn of(results: &'a [RunResult]) -> Self {
        let mut variants: Vec<Variant<'a>> = Vec::new();
        for run in results {
            match variants.iter_mut().find(|known| known.first().variant == run.variant) {
                Some(known) if known.runs.iter().any(|other| other.seed == run.seed) => {}
                Some(known) => known.runs.push(run),
                None => variants.push(Variant {
                    number: variants.len() + 1,
                    name: plain(&run.variant),
                    runs: vec![run],
                }),
            }
        }
        Self(variants)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::report) fn iter(&self) -> impl Iterator<Item = &Variant<'a>> + Clone {
        self.0.iter()
    }

    /// The one that all are compared with.
    pub(in crate::report) fn base(&self) -> Option<&Variant<'a>> {
        self.0.first()
    }

    /// How many seeds each variant has; `None` where they differ.
    pub(super) fn seeds(&self) -> Option<usize> {
        let seeds = self.base()?.runs.len();
        self.0.iter().all(|variant| variant.runs.len() == seeds).then_some(seeds)
    }

    /// What was compared, in a sentence.
    pub(super) fn lead(&self) -> String {
        let runs: usize = self.0.iter().map(|variant| variant.runs.len()).sum();
        let tokens = self.0.iter().flat_map(|variant| variant.runs.iter().map(|run| run.tokens));
        match tokens.max() {
            None => String::new(),
            Some(tokens) => format!(
                "{} in {}, each of up to {} tokens. Losses are in nats a token, on documents that no \
                 run was trained on.",
                units::of(self.0.len() as u64, "variant"),
                units::of(runs as u64, "run"),
                units::grouped(tokens),
            ),
        }
    }

    /// As many variants at a time as there are colours, the first among them each time; what `blocks` makes
    /// of them is folded but for the first time.
    pub(super) fn at_a_time(
        &self,
        blocks: impl FnMut(&[&Variant<'a>]) -> Vec<Block>,
    ) -> Vec<Block> {
        series::at_a_time(&self.0, "Variant", blocks)
    }
}

impl<'a> Variant<'a> {
    /// The run of the first seed.
    pub(in crate::report) fn first(&self) -> &'a RunResult {
        self.runs[0]
    }

    pub(in crate::report) fn runs(&self) -> impl Iterator<Item = &'a RunResult> {
        self.runs.iter().copied()
    }

    /// The colour that it has in all figures.
    pub(super) fn slot(&self) -> usize {
        series::slot(self.number)
    }

    /// Its number and name.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.number, self.name)
    }

    pub(super) fn cell(&self) -> Cell {
        Cell { text: self.title(), strong: false, slot: Some(self.slot()) }
    }

    pub(super) fn key(&self) -> Key {
        Key { slot: self.slot(), name: self.title() }
    }

    /// A number of each run.
    pub(in crate::report) fn sample(&self, value: impl Fn(&RunResult) -> f64) -> Sample {
        self.runs().map(value).collect()
    }

    /// A number of each run that has it.
    pub(in crate::report) fn sample_of(&self, value: impl Fn(&RunResult) -> Option<f64>) -> Sample {
        self.runs().filter_map(value).collect()
    }

    /// How much more it loses than `base` with the same seed.
    pub(in crate::report) fn above(&self, base: &Self) -> Sample {
        let losses = |variant: &Self| -> Vec<(u64, f64)> {
            variant.runs().map(|run| (run.seed, run.loss)).collect()
        };
        paired(&losses(self), &losses(base))
    }

    /// A curve of each run.
    pub(super) fn curves(&self, of: impl Fn(&RunResult) -> &[(u64, f64)]) -> Vec<Vec<(f64, f64)>> {
        let curve = |run| of(run).iter().map(|(tokens, value)| (*tokens as f64, *value)).collect();
        self.runs().map(curve).collect()
    }
}
