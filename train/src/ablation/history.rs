//! The curves of a run, from its metrics.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use latent_model::moe::balance::max_vio;
use serde::Deserialize;

use super::BalanceResult;
use crate::{Loads, METRICS_FILE, TrainError};

/// The most points of a curve.
const POINTS: usize = 200;
/// The most points of the loads of a layer: there is a number for each expert.
const LOAD_POINTS: usize = 40;

/// What `metrics.jsonl` says of a run.
#[derive(Debug, Default)]
pub(super) struct History {
    steps: Vec<Step>,
    validation: Vec<(u64, f64)>,
}

#[derive(Debug, Deserialize)]
struct Step {
    step: u64,
    cross_entropy: f64,
    tokens: u64,
    tokens_per_second: f64,
    load: BTreeMap<usize, Vec<usize>>,
}

#[derive(Debug, Deserialize)]
struct Evaluation {
    step: u64,
    validation: Loss,
}

#[derive(Debug, Deserialize)]
struct Loss {
    loss: f64,
}

impl History {
    /// Reads the metrics in a run's folder.
    pub(super) fn read(run: &Path) -> Result<Self, TrainError> {
        let path = run.join(METRICS_FILE);
        let text = fs::read_to_string(&path).map_err(|e| TrainError::io(&path, e))?;
        let mut history = Self::default();
        let mut at = BTreeMap::new();
        let mut tokens = 0;
        let wrong = |e: serde_json::Error| TrainError::io(&path, e.into());
        for line in text.lines() {
            if let Ok(Evaluation { step, validation }) = serde_json::from_str(line) {
                let tokens = at.get(&step).copied().unwrap_or(tokens);
                history.validation.push((tokens, validation.loss));
                continue;
            }
            let mut step: Step = serde_json::from_str(line).map_err(wrong)?;
            tokens += step.tokens;
            step.tokens = tokens;
            at.insert(step.step, tokens);
            history.steps.push(step);
        }
        Ok(history)
    }

    /// The tokens of all steps.
    pub(super) fn tokens(&self) -> u64 {
        self.steps.last().map_or(0, |step| step.tokens)
    }

    /// Tokens, and the cross-entropy.
    pub(super) fn training(&self) -> Vec<(u64, f64)> {
        self.means(POINTS, |step| step.cross_entropy)
    }

    /// Tokens, and the loss of an evaluation.
    pub(super) fn validation(&self) -> Vec<(u64, f64)> {
        self.validation.clone()
    }

    /// The median of the steps' speeds.
    pub(super) fn tokens_per_second(&self) -> f64 {
        let mut speeds: Vec<f64> = self.steps.iter().map(|step| step.tokens_per_second).collect();
        speeds.sort_by(f64::total_cmp);
        speeds.get(speeds.len() / 2).copied().unwrap_or(0.0)
    }

    /// How even experts were; `None` where there were none.
    pub(super) fn balance(&self) -> Option<BalanceResult> {
        let layers: Vec<usize> = self.steps.first()?.load.keys().copied().collect();
        if layers.is_empty() {
            return None;
        }
        let of_step = |step: &Step| {
            let each = step.load.values().map(|load| max_vio(load));
            each.sum::<f64>() / step.load.len().max(1) as f64
        };
        let last = self.steps.len() - self.steps.len().div_ceil(10);
        let max_vio = sum(&self.steps[last..]).max_vio().map(|(_, vio)| vio).fold(0.0, f64::max);
        let mut loads: BTreeMap<usize, Vec<(u64, Vec<f64>)>> = BTreeMap::new();
        for part in stretches(&self.steps, LOAD_POINTS) {
            let tokens = part.last().map_or(0, |step| step.tokens);
            for (layer, load) in sum(part).iter() {
                let all = load.iter().sum::<usize>().max(1) as f64;
                let shares = load.iter().map(|&n| n as f64 / all).collect();
                loads.entry(layer).or_default().push((tokens, shares));
            }
        }
        Some(BalanceResult { max_vio_of_steps: self.means(POINTS, of_step), max_vio, loads })
    }

    fn means(&self, points: usize, value: impl Fn(&Step) -> f64) -> Vec<(u64, f64)> {
        let mean = |part: &[Step]| {
            let tokens = part.last().map_or(0, |step| step.tokens);
            (tokens, part.iter().map(&value).sum::<f64>() / part.len() as f64)
        };
        stretches(&self.steps, points).map(mean).collect()
    }
}

/// At most `points` stretches of as many steps, but for the last.
fn stretches(steps: &[Step], points: usize) -> impl Iterator<Item = &[Step]> {
    steps.chunks(steps.len().div_ceil(points).max(1))
}

fn sum(steps: &[Step]) -> Loads {
    let mut loads = Loads::default();
    for (&layer, load) in steps.iter().flat_map(|step| &step.load) {
        loads.add(layer, load);
    }
    loads
}
