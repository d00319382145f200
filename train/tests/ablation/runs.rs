//! Runs of an ablation.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use latent_kernels::Reference;
use latent_train::ablation::{
    Ablation, AblationConfig, AblationWatch, Jobs, RESULTS_FILE, RunResult, Variant, ablate,
    read_results,
};
use latent_train::config::TrainConfig;
use latent_train::model::moe::balance::max_vio;
use latent_train::{Loads, Prepared, TrainError, Watch};
use serde_json::Value;

use crate::tiny::{MLA_MOE, Place};

const SECTION: &str = r#"
[ablation]
seeds = [0, 1]
axes.mtp = [false]
axes.feed_forward = ["moe", "dense"]
"#;

fn config(place: &Place, set: &[&str]) -> AblationConfig {
    let mut all = vec!["data.separator=%%", "loss.sequence_loss_alpha=0.0"];
    all.extend(set);
    let overrides: Vec<_> = all.iter().map(|each| each.parse().unwrap()).collect();
    AblationConfig::from_toml(&format!("{}{SECTION}", place.here(MLA_MOE)), &overrides).unwrap()
}

fn reference(_: &TrainConfig, _threads: usize) -> Result<Reference<f32>, TrainError> {
    Ok(Reference::new())
}

fn run(config: &AblationConfig, at_once: usize, resume: bool) -> Result<Ablation, TrainError> {
    ablate(reference, config, Jobs { at_once, threads: 1 }, resume, &())
}

/// What does not depend on the time that was taken.
fn timeless(results: &[RunResult]) -> Vec<RunResult> {
    let without = |result: &RunResult| RunResult { tokens_per_second: 0.0, ..result.clone() };
    results.iter().map(without).collect()
}

#[test]
fn runs_side_by_side_come_to_the_same_as_one_after_another() {
    let (one, two) = (Place::new(), Place::new());
    let a = run(&config(&one, &[]), 1, false).unwrap();
    let b = run(&config(&two, &[]), 3, false).unwrap();
    assert_eq!(timeless(&a.results), timeless(&b.results));
    let names: Vec<_> = a.results.iter().map(|r| (r.variant.as_str(), r.seed)).collect();
    let each = ["moe-no-mtp", "dense-no-mtp"];
    assert_eq!(names, [(each[0], 0), (each[1], 0), (each[0], 1), (each[1], 1)]);
    assert!(a.failures.is_empty() && !a.stopped);
    let mut stored = read_results(&one.out()).unwrap();
    assert_eq!(stored, a.results, "one after another they are stored in order");
    stored = read_results(&two.out().join(RESULTS_FILE)).unwrap();
    stored.sort_by(|x, y| (x.seed, &y.variant).cmp(&(y.seed, &x.variant)));
    assert_eq!(timeless(&stored), timeless(&a.results));
}

#[test]
fn a_result_says_what_the_metrics_say() {
    let place = Place::new();
    let config = config(&place, &["run.steps=25", "run.eval_every=10"]);
    let found = run(&config, 2, false).unwrap();
    let moe = &found.results[0];
    let folder = config.folder(&config.variants[0], 0);
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (steps, evaluations): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line["validation"].is_null());
    assert_eq!((steps.len(), evaluations.len()), (25, 3));
    assert_eq!(moe.steps, 25);
    assert_eq!(moe.tokens, steps.iter().map(|s| s["tokens"].as_u64().unwrap()).sum::<u64>());
    assert_eq!(moe.training.len(), 25);
    assert_eq!(moe.training[24], (moe.tokens, steps[24]["cross_entropy"].as_f64().unwrap()));
    let losses: Vec<f64> =
        evaluations.iter().map(|e| e["validation"]["loss"].as_f64().unwrap()).collect();
    assert_eq!(moe.validation.iter().map(|(_, loss)| *loss).collect::<Vec<_>>(), losses);
    assert_eq!(moe.validation[2].0, moe.tokens);
    assert_eq!(moe.loss, losses[2], "the last evaluation is of the same model");
    let (all, count) = moe
        .kinds
        .values()
        .fold((0.0, 0), |(sum, count), (loss, n)| (sum + loss * *n as f64, count + n));
    assert!((all / count as f64 - moe.loss).abs() < 1e-12);
    let load =
        |step: &Value| -> Vec<usize> { serde_json::from_value(step["load"]["1"].clone()).unwrap() };
    let balance = moe.balance.as_ref().unwrap();
    assert_eq!(balance.max_vio_of_steps.len(), 25);
    assert_eq!(balance.max_vio_of_steps[7].1, max_vio(&load(steps[7])));
    // The last tenth: 3 steps of 25.
    let mut last = Loads::default();
    steps[22..].iter().for_each(|step| last.add(1, &load(step)));
    assert_eq!(balance.max_vio, last.max_vio().next().unwrap().1);
    let shares = &balance.loads[&1];
    assert_eq!(shares.len(), 25);
    assert!(shares.iter().all(|(_, share)| (share.iter().sum::<f64>() - 1.0).abs() < 1e-12));
    let routing = moe.routing.as_ref().unwrap();
    assert_eq!(routing.trained.layers.keys().copied().collect::<Vec<_>>(), [1]);
    let chosen: u64 = routing.trained.layers[&1].iter().flatten().sum();
    // Two experts for each token, and the last of a document has no target.
    assert!(chosen >= 2 * count as u64 && chosen.is_multiple_of(2), "{chosen}, {count}");
    assert_eq!(routing.mutual_information, routing.trained.mutual_information());
    let dense = &found.results[1];
    assert!(dense.balance.is_none() && dense.routing.is_none());
    assert!(moe.active_parameters < moe.total_parameters);
}

#[test]
fn every_token_counts_for_its_kind_of_text() {
    let place = Place::new();
    let line = |i: usize| match i % 2 {
        0 => format!(r#"{{"kind": "zeros", "text": "{}"}}"#, "0 ".repeat(20 + i)),
        _ => format!(r#"{{"kind": "letters", "text": "{}"}}"#, "qed".repeat(9 + i)),
    };
    let path = place.text().with_extension("jsonl");
    fs::write(&path, (0..24).map(line).collect::<Vec<_>>().join("\n")).unwrap();
    let mut config = config(&place, &["run.steps=1"]);
    config.variants.truncate(1);
    config.seeds.truncate(1);
    for settings in config.settings_mut() {
        settings.data.files = vec![path.clone()];
        settings.data.separator = None;
    }
    let found = run(&config, 1, false).unwrap();
    let routing = &found.results[0].routing.as_ref().unwrap().trained;
    assert_eq!(routing.kinds, ["letters", "zeros"]);
    let run = Prepared::new(config.runs().next().unwrap().1, &place.out(), false).unwrap();
    for (kind, row) in routing.kinds.iter().zip(&routing.layers[&1]) {
        let of_kind = |document: &usize| run.validation.kind(*document).as_ref() == kind.as_str();
        let documents = (0..run.validation.len()).filter(of_kind);
        let tokens: usize = documents.map(|document| run.validation.document(document).len()).sum();
        assert_eq!(row.iter().sum::<u64>(), 2 * tokens as u64, "{kind}: two experts a token");
    }
}

#[test]
fn an_ablation_that_was_stopped_goes_on_to_the_same_results() {
    let (whole, stopped) = (Place::new(), Place::new());
    let all = run(&config(&whole, &[]), 1, false).unwrap();
    // Two runs at their end, and the third in its middle.
    let config = config(&stopped, &[]);
    let mut first = config.clone();
    first.seeds = vec![0];
    run(&first, 1, false).unwrap();
    let mut part = config.clone();
    part.seeds = vec![1];
    part.variants.truncate(1);
    part.variants[0].config.run.steps = 3;
    run(&part, 1, true).unwrap();
    let file = stopped.out().join(RESULTS_FILE);
    let text = fs::read_to_string(&file).unwrap();
    let two: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
    // And a line that was cut.
    fs::write(&file, two + "{\"variant\": \"moe").unwrap();
    let found = run(&config, 1, true).unwrap();
    assert_eq!(timeless(&found.results), timeless(&all.results));
    assert_eq!(read_results(&stopped.out()).unwrap().len(), 4);
}

#[test]
fn what_is_there_is_not_overwritten() {
    let place = Place::new();
    run(&config(&place, &[]), 1, false).unwrap();
    let before = fs::read(place.out().join(RESULTS_FILE)).unwrap();
    let error = run(&config(&place, &[]), 1, false).unwrap_err().to_string();
    assert!(error.contains("holds a run: results.jsonl; go on with it by --resume"), "{error}");
    let found = run(&config(&place, &["optimizer.learning_rate=0.02"]), 1, true).unwrap();
    assert_eq!((found.results.len(), found.failures.len()), (0, 4));
    let error = found.failures[0].error.to_string();
    assert!(
        error.contains("another run: optimizer.learning_rate: what is there has 0.01"),
        "{error}"
    );
    assert_eq!(fs::read(place.out().join(RESULTS_FILE)).unwrap(), before);
    fs::remove_file(place.out().join(RESULTS_FILE)).unwrap();
    let error = run(&config(&place, &[]), 1, false).unwrap_err().to_string();
    assert!(error.contains("step-00000006; go on with it by --resume"), "{error}");
    fs::write(place.out().join(RESULTS_FILE), "{}\n").unwrap();
    let error = run(&config(&place, &[]), 1, true).unwrap_err().to_string();
    assert!(error.contains("results.jsonl: line 1: no result of a run: missing field"), "{error}");
}

#[test]
fn a_run_that_fails_does_not_hold_up_the_others() {
    let place = Place::new();
    let mut config = config(&place, &[]);
    config.variants[0].config.optimizer.learning_rate = 1e30;
    let found = run(&config, 2, false).unwrap();
    assert_eq!((found.results.len(), found.failures.len()), (2, 2));
    assert!(found.results.iter().all(|result| result.variant == "dense-no-mtp"));
    let failure = &found.failures[0];
    assert_eq!((failure.variant.as_str(), failure.seed), ("moe-no-mtp", 0));
    assert!(failure.error.to_string().starts_with("step "), "{}", failure.error);
}

/// Counts what it is told.
#[derive(Default)]
struct Count {
    begun: AtomicUsize,
    before: AtomicUsize,
    finished: AtomicUsize,
}

impl AblationWatch for Count {
    fn begins(&self, _: &Variant, _: &TrainConfig) -> Box<dyn Watch + '_> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Box::new(())
    }

    fn finished(&self, _: &RunResult, before: bool) {
        let count = if before { &self.before } else { &self.finished };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn who_watches_is_told_of_each_run_once() {
    let place = Place::new();
    let config = config(&place, &[]);
    let jobs = Jobs { at_once: 2, threads: 1 };
    let mut told = BTreeMap::new();
    for time in ["first", "again"] {
        let count = Count::default();
        ablate(reference, &config, jobs, time == "again", &count).unwrap();
        let all = [count.begun, count.finished, count.before];
        told.insert(time, all.map(AtomicUsize::into_inner));
    }
    assert_eq!(told["first"], [4, 4, 0]);
    assert_eq!(told["again"], [0, 0, 4]);
}

#[test]
fn cores_are_shared_among_runs() {
    let of = |cores, runs| (Jobs::of(cores, runs).at_once, Jobs::of(cores, runs).threads);
    assert_eq!([of(2, 9), of(16, 3), of(8, 1), of(1, 5)], [(2, 1), (3, 5), (1, 8), (1, 1)]);
}
