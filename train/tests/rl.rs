//! Runs of reinforcement learning: the same bits whatever happens, and what answers earn decides what is learned.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::float_cmp, reason = "what is the same has the same bits")]
#![expect(clippy::cast_possible_truncation, reason = "counts are small")]

use std::fs;
use std::sync::Arc;

use latent_kernels::cpu::{Cpu, Isa};
use latent_train::METRICS_FILE;
use latent_train::rl::{RlPrepared, RlStepReport, RlTrainer, RlWatch, rl};

#[path = "rl/history.rs"]
mod history;
#[path = "rl/place.rs"]
mod place;
#[path = "rl/refusals.rs"]
mod refusals;
#[path = "runs/tiny.rs"]
#[expect(dead_code, reason = "other tests train on texts alone")]
mod tiny;

use place::Rl;
use tiny::{assert_same_files, names};

#[test]
fn no_bit_depends_on_who_computes() {
    let want = Rl::new();
    let checkpoint = want.run(&[], false).unwrap().checkpoint;
    for (backends, batch_size) in [(2, 32), (3, 1), (1, 5)] {
        let place = Rl::new();
        let set = format!("rollout.batch_size={batch_size}");
        let found = place.run_on(backends, &[&set], false, &mut ()).unwrap().checkpoint;
        assert_same_files(&checkpoint, &found);
        assert_eq!(place.lines(), want.lines());
    }
    // On a processor's threads, too.
    let of_threads = |threads: &[usize]| {
        let place = Rl::new();
        let cpus = threads.iter().map(|&n| Cpu::with(Isa::best(), n).unwrap()).collect();
        let found = rl(cpus, place.config(&[]), false, &mut ()).unwrap().checkpoint;
        (place, found)
    };
    let (_one, one) = of_threads(&[1]);
    let (_some, some) = of_threads(&[1, 2, 3]);
    assert_same_files(&one, &some);
}

/// Ends a run after some steps.
struct Until(u64, u64);

impl RlWatch for Until {
    fn stepped(&mut self, report: &RlStepReport) {
        self.1 = report.step;
    }

    fn stop(&mut self) -> bool {
        self.1 >= self.0
    }
}

#[test]
fn a_run_in_parts_is_a_run_at_once() {
    for set in [
        &[][..],
        &["grpo.num_iterations=2", "rollout.dynamic_sampling=2", "grpo.beta=0"],
        &["base.mtp_weight=0.1"],
    ] {
        let mtp = format!("model.num_nextn_predict_layers={}", set.len() % 2);
        let (whole, parts) = (Rl::on(&[&mtp]), Rl::on(&[&mtp]));
        let want = whole.run(set, false).unwrap();
        for stop in 1..=5 {
            let outcome = parts.run_on(1, set, stop > 1, &mut Until(stop, 0)).unwrap();
            assert_eq!((outcome.step, outcome.stopped), (stop, stop < 5));
            if stop == 5 {
                assert_same_files(&want.checkpoint, &outcome.checkpoint);
            }
        }
        assert_eq!(whole.lines(), parts.lines());
        // All steps were taken: nothing is left to be done, and nothing is changed.
        assert!(parts.run(set, true).unwrap().last.is_none());
        assert_eq!(whole.lines(), parts.lines());
    }
}

#[test]
fn a_run_that_ended_before_its_first_checkpoint_begins_anew() {
    let (whole, ended) = (Rl::new(), Rl::new());
    whole.run(&[], false).unwrap();
    // An evaluation before the first step, and that step.
    let text = fs::read_to_string(whole.0.out().join(METRICS_FILE)).unwrap();
    let left: String = text.split_inclusive('\n').take(2).collect();
    fs::create_dir_all(ended.0.out()).unwrap();
    fs::write(ended.0.out().join(METRICS_FILE), left).unwrap();
    ended.run(&[], true).unwrap();
    assert_eq!(whole.lines(), ended.lines());
}

#[test]
fn the_first_update_finds_the_probabilities_and_experts_of_the_rollout() {
    for set in [
        &["run.form=expanded"][..],
        &["run.form=absorbed", "grpo.temperature=0.7"],
        &["run.dtype=bf16", "grpo.num_iterations=3"],
    ] {
        let place = Rl::new();
        let run = Arc::new(RlPrepared::new(place.config(set)).unwrap());
        let cpu = place.config(set).run.on(Cpu::new());
        let mut trainer = RlTrainer::new(vec![cpu], run).unwrap();
        for _ in 0..4 {
            let report = trainer.step().unwrap();
            assert_eq!((report.first_ratio_deviation, report.first_rerouted), (0.0, 0));
            let last = report.update.unwrap().metrics.max_ratio_deviation;
            assert_eq!(last > 0.0, set.len() == 2 && set[1].ends_with("iterations=3"), "{set:?}");
        }
    }
}

#[test]
fn what_earns_more_becomes_more_probable() {
    let mut trainer = Rl::new().trainer(&["grpo.beta=0", "rollout.questions=8"]);
    let before = trainer.evaluate().unwrap().stats;
    let reports: Vec<_> = (0..80).map(|_| trainer.step().unwrap()).collect();
    let after = trainer.evaluate().unwrap().stats;
    // Nothing is paid for but to be short.
    assert!(after.length < 0.6 * before.length, "{} then {}", before.length, after.length);
    let mean = |of: &[RlStepReport]| of.iter().map(|r| r.stats.reward).sum::<f64>() / 5.0;
    let (first, last) = (mean(&reports[..5]), mean(&reports[75..]));
    assert!(first < 0.0 && last > 0.6 * first, "{first} then {last}");
    assert!(reports.iter().all(|report| report.stats.parts.length == report.stats.reward));
}

#[test]
fn the_reference_is_the_model_of_some_steps_ago() {
    let mut trainer = Rl::new().trainer(&[]);
    let kl: Vec<f64> =
        (0..5).map(|_| trainer.step().unwrap().update.unwrap().metrics.kl.unwrap()).collect();
    // It becomes the model after steps 2 and 4.
    assert_eq!([kl[0], kl[2], kl[4]], [0.0; 3]);
    assert!(kl[1] > 0.0 && kl[3] > 0.0, "{kl:?}");
    let mut never = Rl::new().trainer(&["grpo.ref_model_sync_steps=0"]);
    let kl: Vec<f64> =
        (0..5).map(|_| never.step().unwrap().update.unwrap().metrics.kl.unwrap()).collect();
    assert!(kl[0] == 0.0 && kl[1..].iter().all(|&kl| kl > 0.0), "{kl:?}");
    let mut none = Rl::new().trainer(&["grpo.beta=0"]);
    assert_eq!(none.step().unwrap().update.unwrap().metrics.kl, None);
    assert!(none.contents().unwrap().reference.is_none());
}

#[test]
fn questions_whose_answers_all_earn_the_same_are_replaced() {
    // A right answer, which never comes, is all that is paid for.
    let paid_for_nothing = ["reward.overlong=judged", "reward.max_tokens=8"];
    let place = Rl::new();
    assert!(place.try_config(&paid_for_nothing).is_err());
    let mut trainer = place.trainer(&["rollout.dynamic_sampling=3", "grpo.num_generations=2"]);
    let mut asked = 0;
    for _ in 0..6 {
        let report = trainer.step().unwrap();
        let (questions, equal) = (report.questions, report.frac_reward_zero_std);
        let useful = questions - (equal * questions as f64).round() as usize;
        assert!(useful == 3 || questions == 12, "{useful} of {questions}");
        assert_eq!(report.stats.answers, 2 * questions);
        asked += questions;
    }
    assert!(asked > 18, "{asked} questions: no answers earned the same");
    // Ten problems make an epoch.
    let cursor = trainer.contents().unwrap().progress.cursor;
    assert_eq!(cursor.epoch as usize * 10 + cursor.sequence, asked);
}

#[test]
fn answers_that_were_cut_off_teach_nothing_where_that_is_asked() {
    let hard = ["reward.overlong=hard", "grpo.beta=0"];
    let place = Rl::new();
    let error = place.try_config(&hard).unwrap_err().to_string();
    assert!(error.starts_with("reward.max_tokens"), "{error}");
    for set in ["grpo.mask_truncated_completions=true", "grpo.mask_truncated_completions=false"] {
        let short = "grpo.max_completion_length=3";
        let report = Rl::new().trainer(&[set, short]).step().unwrap();
        let (stats, metrics) = (report.stats, report.update.unwrap().metrics);
        let cut = (stats.clipped * stats.answers as f64).round() as usize;
        assert!(cut > 0, "none was cut off");
        assert_eq!(metrics.masked, if set.ends_with("true") { cut } else { 0 });
        assert_eq!(metrics.tokens, stats.tokens - 3 * metrics.masked);
    }
}

#[test]
fn an_evaluation_asks_what_is_held_out_and_keeps_some_answers() {
    let place = Rl::new();
    let mut trainer = place.trainer(&["rollout.samples=3"]);
    let first = trainer.evaluate().unwrap();
    assert_eq!((first.stats.answers, first.samples.len()), (4, 3));
    assert_eq!(trainer.evaluate().unwrap(), first);
    let problems = &RlPrepared::new(place.config(&[])).unwrap().task;
    for (index, sample) in first.samples.iter().enumerate() {
        let problem = problems.problem(index as u64, latent_train::tasks::Part::HeldOut);
        assert_eq!((&sample.question, &sample.answer), (&problem.question, &problem.answer));
    }
    trainer.step().unwrap();
    assert_ne!(trainer.evaluate().unwrap(), first);
}

#[test]
fn layers_for_more_tokens_learn_along_and_change_no_bit_of_the_policy() {
    let place = Rl::on(&["model.num_nextn_predict_layers=2"]);
    let set = ["balance.bias_update_speed=0.01", "grpo.num_iterations=2", "balance.z_loss_alpha=0"];
    let (mut without, mut with) =
        (place.trainer(&set), place.trainer(&[&set[..], &["base.mtp_weight=0.3"]].concat()));
    let is_of_mtp =
        |name: &str| ["layers.2.", "layers.3."].iter().any(|layer| name.contains(layer));
    let before = with.weights().clone();
    let mut losses = Vec::new();
    for _ in 0..60 {
        let (want, found) = (without.step().unwrap(), with.step().unwrap());
        assert_eq!((want.stats, want.grad_norm), (found.stats, found.grad_norm));
        assert_eq!(want.update.unwrap().mtp, None);
        losses.push(found.update.unwrap().mtp.unwrap());
    }
    let (first, last) = (losses[..5].iter().sum::<f64>(), losses[55..].iter().sum::<f64>());
    assert!(last < 0.95 * first, "{losses:?}");
    let of_policy = with.weights().iter().filter(|(name, _)| !is_of_mtp(name));
    assert!(of_policy.eq(without.weights().iter()));
    // Every weight of theirs has moved, the biases of routers among them.
    let mut of_mtp = with.weights().iter().filter(|(name, _)| is_of_mtp(name)).peekable();
    assert!(of_mtp.peek().is_some());
    for (name, array) in of_mtp {
        assert_ne!(Some(array), before.get(name), "{name}");
    }
}

#[test]
fn layers_for_more_tokens_are_left_out() {
    let place = Rl::on(&["model.num_nextn_predict_layers=1"]);
    let trainer = place.trainer(&[]);
    assert!(trainer.weights().iter().all(|(name, _)| !name.contains("layers.2.")));
    let outcome = place.run(&["run.steps=1"], false).unwrap();
    assert!(names(&outcome.checkpoint).contains(&"reference.safetensors".to_owned()));
    assert!(outcome.evaluations.is_some());
}

#[test]
fn loads_are_counted_and_biases_move() {
    let mut trainer = Rl::new().trainer(&["balance.bias_update_speed=0.01"]);
    let bias = "model.layers.1.mlp.gate.e_score_correction_bias";
    let before = trainer.weights().get(bias).unwrap().clone();
    let report = trainer.step().unwrap();
    assert_eq!(report.loads.iter().count(), 1);
    let moved = trainer.weights().get(bias).unwrap();
    assert!(moved != &before);
    let mut still = Rl::new().trainer(&["balance.bias_update_speed=0"]);
    still.step().unwrap();
    assert_eq!(still.weights().get(bias).unwrap(), &before);
}
