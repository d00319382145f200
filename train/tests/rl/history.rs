//! What is read of a run's metrics is what the run said, and what nobody can have meant is named.

use std::fs;
use std::path::{Path, PathBuf};

use latent_train::TrainError;
use latent_train::rl::{
    Reached, RlEvaluation, RlHistory, RlStepReport, RlWatch, Verdict, read_history, read_settings,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::place::Rl;

/// Notes what a run tells.
#[derive(Default)]
struct Notes(Vec<RlStepReport>, Vec<(u64, RlEvaluation)>);

impl RlWatch for Notes {
    fn stepped(&mut self, report: &RlStepReport) {
        self.0.push(report.clone());
    }

    fn evaluated(&mut self, step: u64, evaluation: &RlEvaluation) {
        self.1.push((step, evaluation.clone()));
    }
}

#[test]
fn what_a_run_says_is_read_back() {
    for set in [&[][..], &["grpo.beta=0"]] {
        let (place, mut notes) = (Rl::new(), Notes::default());
        place.run_on(1, set, false, &mut notes).unwrap();
        let history = read_history(&place.0.out()).unwrap();
        assert_eq!(history.evaluations, notes.1);
        assert_eq!(history.steps.len(), 5);
        for (point, report) in history.steps.iter().zip(&notes.0) {
            let metrics = report.update.unwrap().metrics;
            assert_eq!(
                (point.step, point.questions as usize, point.stats),
                (report.step, report.questions, report.stats)
            );
            assert_eq!((point.entropy, point.kl), (metrics.entropy, metrics.kl));
            assert_eq!(
                [point.clip_low, point.clip_high, point.grad_norm, point.reward_std],
                [metrics.clip_low, metrics.clip_high, report.grad_norm, report.reward_std]
            );
            assert_eq!(point.frac_reward_zero_std, report.frac_reward_zero_std);
            let times = report.times;
            assert_eq!(
                [point.seconds, point.rollout_seconds, point.training_seconds],
                [times.whole, times.rollout, times.training].map(|time| time.as_secs_f64())
            );
            assert!(point.max_vio.iter().map(|(k, v)| (*k, *v)).eq(report.loads.max_vio()));
        }
        let settings = read_settings(&place.0.out()).unwrap().unwrap();
        assert_eq!(settings["grpo"]["num_generations"], 4);
    }
}

/// A folder with these lines of metrics.
fn folder(lines: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(metrics(folder.path()), text).unwrap();
    folder
}

fn metrics(folder: &Path) -> PathBuf {
    folder.join("metrics.jsonl")
}

fn history(lines: &[Value]) -> Result<RlHistory, TrainError> {
    read_history(folder(lines).path())
}

/// A step with so many characters of thought, of ten answers to five questions.
fn step(step: u64, thinking: f64) -> Value {
    json!({
        "step": step, "questions": 5, "answers": 10, "tokens": 30, "reward": 0.5,
        "reward_parts": { "match": 0.5, "form": 0.0, "language": 0.0, "length": 0.0 },
        "accuracy": 0.5, "formed": 1.0, "length": 3, "thinking": thinking, "clipped": 0.1,
        "reward_std": 0.2, "frac_reward_zero_std": 0.25, "entropy": 1.5, "kl": null,
        "clip_low": 0.01, "clip_high": 0.02, "grad_norm": 0.7, "seconds": 2.0,
        "rollout_seconds": 1.25, "training_seconds": 0.5, "max_vio": { "1": 0.5, "2": 0.75 },
        "load": { "1": [3, 1] }, "what comes later": [{}],
    })
}

fn evaluation(step: u64, accuracy: f64, thinking: f64) -> Value {
    json!({ "step": step, "held_out": {
        "answers": 4, "tokens": 12, "reward": accuracy, "accuracy": accuracy, "formed": 1.0,
        "reward_parts": { "match": accuracy, "form": 0.0, "language": 0.0, "length": 0.0 },
        "length": 3.0, "thinking": thinking, "clipped": 0.0,
        "samples": [{
            "question": "1 + 1", "answer": "2", "text": "<think>\n", "reward": 0.0, "ended": false,
        }],
    }})
}

fn a_run() -> Vec<Value> {
    let mut lines = vec![evaluation(0, 0.0, 10.0)];
    for part in 0..3 {
        lines.extend((1..=10).map(|i| step(10 * part + i, 20.0 * part as f64 + i as f64)));
        lines.push(evaluation(10 * part + 10, 0.3 * (part + 1) as f64, 20.0 * (part + 1) as f64));
    }
    lines
}

#[test]
fn measures_are_those_of_the_lines() {
    let history = history(&a_run()).unwrap();
    let [before, after] = history.before_and_after().unwrap();
    assert_eq!((before.0, after.0, before.1.stats.thinking), (0, 30, 10.0));
    let [early, late] = history.thinking_early_and_late().unwrap();
    assert!((early - 2.0).abs() < 1e-9 && (late - 49.0).abs() < 1e-9, "{early}, {late}");
    // 10, 20, 40, 60 with 0, 0.3, 0.6, 0.9: worked out by hand.
    let correlation = history.accuracy_with_thinking().unwrap();
    assert!((correlation - 25.5 / (0.45_f64 * 1475.0).sqrt()).abs() < 1e-12, "{correlation}");
    assert_eq!(history.reached(0.0), Some(Reached { step: 0, questions: 0 }));
    assert_eq!(history.reached(0.5), Some(Reached { step: 20, questions: 100 }));
    assert_eq!(history.reached(0.95), None);
    assert_eq!((history.questions(), history.tokens(), history.seconds()), (150, 900, 60.0));
    assert_eq!(before.1.samples[0].verdict, Verdict::Unknown);
    let point = &history.steps[0];
    assert_eq!((point.entropy, point.kl, point.max_vio[&2]), (Some(1.5), None, 0.75));
}

#[test]
fn a_history_without_lines_has_no_measures() {
    let none = history(&[]).unwrap();
    assert_eq!(none, RlHistory::default());
    assert!(none.before_and_after().is_none() && none.thinking_early_and_late().is_none());
    assert!(none.accuracy_with_thinking().is_none() && none.reached(0.0).is_none());
    assert_eq!((none.questions(), none.tokens(), none.seconds()), (0, 0, 0.0));
    let mut without = step(1, 3.0);
    without["answers"] = 0.into();
    assert_eq!(history(&[without]).unwrap().thinking_early_and_late(), None);
    assert_eq!(read_settings(folder(&[]).path()).unwrap(), None);
}

#[test]
fn a_last_line_that_is_not_whole_is_passed_over_wherever_it_ends() {
    let lines = [evaluation(0, 0.0, 1.0), step(1, 2.0), evaluation(1, 0.5, 3.0)];
    let folder = folder(&lines);
    let mut bytes = fs::read(metrics(folder.path())).unwrap();
    // A character of several bytes may be cut, too.
    let question = bytes.windows(5).rposition(|w| w == b"1 + 1").unwrap();
    bytes.splice(question..question + 5, "é × é".bytes());
    let whole = |history: &RlHistory| history.steps.len() + history.evaluations.len();
    for length in 0..=bytes.len() {
        fs::write(metrics(folder.path()), &bytes[..length]).unwrap();
        let found = whole(&read_history(folder.path()).unwrap());
        let ends = bytes[..length].iter().filter(|&&b| b == b'\n').count();
        // The break alone may be missing.
        let want = ends + usize::from(bytes.get(length) == Some(&b'\n'));
        assert_eq!(found, want, "{length} bytes");
    }
    bytes.remove(0);
    fs::write(metrics(folder.path()), &bytes).unwrap();
    let error = read_history(folder.path()).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl: line 1: no line of metrics: "), "{error}");
}

#[test]
fn lines_that_are_none_are_named() {
    let refused = |line: Value, what: &str| {
        let error = history(&[evaluation(0, 0.0, 1.0), line]).unwrap_err().to_string();
        assert!(error.contains("metrics.jsonl: line 2: ") && !error.contains('\n'), "{error}");
        assert!(error.contains(what), "{what}: {error}");
    };
    let training = json!({ "step": 1, "loss": 2.5, "cross_entropy": 2.5, "tokens": 9 });
    refused(training, "no step of reinforcement learning: missing field `questions`");
    let error = history(&[step(1, 1.0), json!({ "step": 2, "held_out": [] })]).unwrap_err();
    assert!(error.to_string().contains("line 2: no evaluation: invalid type"), "{error}");
    for wrong in [json!(3), json!(null), json!([]), json!("step"), json!({})] {
        refused(wrong, "no step of reinforcement learning: ");
    }
    refused(json!({ "step": 1, "held_out": null }), "no evaluation: ");
    refused(json!({ "step": 1, "held_out": { "accuracy": 1.0 } }), "no evaluation: ");
    refused(step(0, 1.0), "step 0 stands behind step 0");
    let behind = history(&[step(4, 1.0), step(3, 1.0)]).unwrap_err().to_string();
    assert!(behind.ends_with("line 2: step 3 stands behind step 4"), "{behind}");
    let behind = history(&[evaluation(9, 0.0, 1.0), evaluation(3, 0.0, 1.0)]).unwrap_err();
    assert!(behind.to_string().ends_with("line 2: step 3 stands behind step 9"), "{behind}");
    let most = history(&[step(u64::MAX, 1.0), step(u64::MAX, 1.0)]).unwrap_err();
    assert!(most.to_string().contains("stands behind"), "{most}");
    let error = read_history("nowhere".as_ref()).unwrap_err().to_string();
    assert!(error.starts_with("nowhere: "), "{error}");
}

fn inside<'a>(line: &'a mut Value, inner: Option<&str>) -> &'a mut Value {
    match inner {
        Some(inner) => &mut line[inner],
        None => line,
    }
}

#[test]
fn a_field_of_any_kind_is_read_or_named() {
    let kinds = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0.5),
        json!(1e308),
        json!(u64::MAX),
        json!("NaN"),
        json!([1]),
        json!({ "x": 0.5 }),
    ];
    for (line, inner) in [(step(1, 1.0), None), (evaluation(1, 0.5, 1.0), Some("held_out"))] {
        let fields = inner.map_or(&line, |inner| &line[inner]).as_object().unwrap().clone();
        for key in fields.keys() {
            let mut without = line.clone();
            let object = inside(&mut without, inner);
            object.as_object_mut().unwrap().remove(key);
            let may = ["entropy", "kl", "load", "what comes later"].contains(&key.as_str());
            assert_eq!(history(&[without]).is_ok(), may, "without {key}");
            for kind in &kinds {
                let mut other = line.clone();
                let object = inside(&mut other, inner);
                object[key.as_str()] = kind.clone();
                match history(&[other]) {
                    Err(error) => assert!(error.to_string().contains("line 1: no "), "{error}"),
                    Ok(history) => {
                        // Whatever it was, no measure of it panics.
                        let _ = (history.questions(), history.tokens(), history.seconds());
                        let _ = (history.reached(0.5), history.thinking_early_and_late());
                    }
                }
            }
        }
    }
}

#[test]
fn of_evaluations_after_the_same_step_the_later_one_stays() {
    let again = [evaluation(0, 0.0, 1.0), evaluation(0, 0.5, 1.0), step(1, 1.0)];
    let history = history(&again).unwrap();
    assert_eq!((history.evaluations.len(), history.steps.len()), (1, 1));
    assert_eq!(history.evaluations[0].1.stats.accuracy, 0.5);
}

#[test]
fn settings_of_a_checkpoint_that_is_not_whole_are_an_error() {
    let folder = folder(&[]);
    fs::write(folder.path().join("latest"), "step-00000003\n").unwrap();
    assert!(matches!(read_settings(folder.path()), Err(TrainError::Snapshot(_))));
    fs::create_dir(folder.path().join("step-00000003")).unwrap();
    fs::write(folder.path().join("step-00000003/trainer.json"), "{}").unwrap();
    let error = read_settings(folder.path()).unwrap_err().to_string();
    assert!(error.contains("trainer.json: missing field `settings`"), "{error}");
}
