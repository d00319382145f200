//! What is refused, and in what words.

use std::fs;

use latent_train::TrainError;

use super::place::Rl;

/// What is said of settings of which some are replaced.
#[track_caller]
fn refused(set: &[&str]) -> String {
    let error = Rl::new().try_config(set).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn settings_out_of_range_are_named_with_what_is_wanted() {
    for (set, wanted) in [
        ("grpo.num_generations=1", "grpo.num_generations: found 1, want at least 2"),
        ("grpo.temperature=0", "grpo.temperature: found 0, want a finite number above 0"),
        ("grpo.temperature=101", "grpo.temperature: found 101, want at most 100"),
        ("grpo.beta=nan", "grpo.beta: found NaN, want a finite number of at least 0"),
        ("grpo.max_completion_length=0", "grpo.max_completion_length: found 0, want at least 1"),
        ("base.mtp_weight=-1", "base.mtp_weight: found -1, want a finite number of at least 0"),
        ("rollout.questions=0", "rollout.questions: found 0, want at least 1"),
        ("rollout.batch_size=0", "rollout.batch_size: found 0, want at least 1"),
        ("rollout.micro_batch_size=0", "rollout.micro_batch_size: found 0, want at least 1"),
        ("rollout.eval_temperature=-1", "rollout.eval_temperature: found -1, want from 0 to 100"),
        ("balance.aux_loss_alpha=-1", "balance.aux_loss_alpha: found -1"),
        ("optimizer.learning_rate=0", "optimizer.learning_rate: found 0"),
        ("run.steps=0", "run.steps: found 0, want at least 1"),
        ("run.eval_batches=3", "run.eval_batches: "),
        ("base.model=", "base.model: found nothing, want a folder"),
        ("reward.match_weight=-1", "reward.match_weight: found -1"),
    ] {
        let error = refused(&[set]);
        assert!(error.starts_with(wanted), "{error}");
    }
}

#[test]
fn unknown_keys_are_errors_with_what_may_have_been_meant() {
    for (set, meant) in [
        ("grpo.epsilom=0.1", "did you mean grpo.epsilon?"),
        ("rollout.num_generations=4", "did you mean grpo.num_generations?"),
        ("reward.templat=tiny", "did you mean reward.template?"),
        ("run.step=4", "did you mean run.steps?"),
        ("task.held_ot=0.2", "did you mean task.held_out?"),
        ("task.kind.sum.term=3", "did you mean task.kind.sum.terms?"),
    ] {
        let error = refused(&[set]);
        assert!(error.contains("unknown key") && error.ends_with(meant), "{error}");
    }
}

#[test]
fn a_model_or_its_tokenizer_that_is_not_there_is_named() {
    let place = Rl::new();
    let error = place.run(&["base.model=/nowhere/at/all"], false).unwrap_err().to_string();
    assert!(error.starts_with("base.model: ") && error.contains("/nowhere/at/all"), "{error}");
    let model = place.0.out().with_file_name("model");
    fs::remove_file(model.join("tokenizer.json")).unwrap();
    let error = place.run(&[], false).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json"), "{error}");
    let other = Rl::new();
    other.edit("config.json", |config| config["vocab_size"] = 200.into());
    let error = other.run(&[], false).unwrap_err().to_string();
    assert!(error.contains("vocab_size"), "{error}");
    assert!(!other.0.out().join("latest").exists());
}

#[test]
fn a_weight_for_layers_that_are_not_there_is_named() {
    let error = Rl::new().run(&["base.mtp_weight=0.1"], false).unwrap_err().to_string();
    assert!(error.contains("base.mtp_weight") && error.contains("without layers"), "{error}");
}

#[test]
fn a_question_without_room_for_an_answer_is_named() {
    let place = Rl::new();
    let error = place.run(&["grpo.max_completion_length=30"], false).unwrap_err().to_string();
    assert!(error.contains("question \"") && error.contains("want at most 2"), "{error}");
}

#[test]
fn another_run_is_not_gone_on_with() {
    let place = Rl::new();
    place.run(&["run.steps=1"], false).unwrap();
    assert!(matches!(place.run(&[], false), Err(TrainError::Occupied { .. })));
    for (set, field) in [
        ("grpo.beta=0.2", "grpo.beta"),
        ("grpo.num_generations=2", "grpo.num_generations"),
        ("reward.match_weight=2", "reward.match_weight"),
        ("rollout.questions=2", "rollout.questions"),
        ("task.seed=1", "task"),
        ("run.seed=1", "run.seed"),
        ("optimizer.learning_rate=0.1", "optimizer.learning_rate"),
    ] {
        let error = place.run(&[set], true).unwrap_err().to_string();
        assert!(error.contains(&format!("another run: {field}")), "{error}");
    }
    // What changes no bit may change.
    let set = ["rollout.batch_size=2", "rollout.samples=1", "run.steps=2", "run.eval_every=1"];
    assert_eq!(place.run(&set, true).unwrap().step, 2);
}

#[test]
fn a_checkpoint_without_its_reference_is_not_whole() {
    let place = Rl::new();
    let checkpoint = place.run(&["run.steps=1"], false).unwrap().checkpoint;
    fs::remove_file(checkpoint.join("reference.safetensors")).unwrap();
    let error = place.run(&[], true).unwrap_err().to_string();
    assert!(error.contains("reference.safetensors") && error.contains("not whole"), "{error}");
}
