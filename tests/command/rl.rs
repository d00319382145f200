//! `latent rl` and `latent export`: from a model that guesses to one that is given away.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::folder::{Folder, text};
use crate::program::{refuses_data, refuses_usage, succeeds};

/// Steps of a second, of the committed settings.
const SHORT: [&str; 8] = [
    // A run of one step may go on to a second.
    "schedule.kind=constant",
    "run.steps=2",
    "run.eval_every=1",
    "rollout.questions=2",
    "rollout.samples=2",
    "grpo.num_generations=3",
    "grpo.max_completion_length=80",
    "task.held_out_problems=3",
];

fn committed(name: &str) -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
}

/// Runs `train/rl/zero.toml`, cut short, in a folder.
fn arguments(folder: &Folder, more: &[&str]) -> Vec<String> {
    let (out, base) = (text(&folder.join("out")), committed("models/zero-base"));
    let mut all = vec!["rl".to_owned(), committed("train/rl/zero.toml")];
    let paths = [format!("run.out={out}"), format!("base.model={base}")];
    for setting in SHORT.iter().map(|s| (*s).to_owned()).chain(paths) {
        all.extend(["--set".to_owned(), setting]);
    }
    all.extend(more.iter().map(|word| (*word).to_owned()));
    all
}

fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

#[test]
fn a_run_leaves_a_model_that_is_exported_and_answers() {
    let folder = Folder::empty();
    let printed = succeeds(&words(&arguments(&folder, &[])));
    assert!(printed.out.contains("held out, step 0: ") && printed.out.contains("% right"));
    assert!(printed.err.contains("1.7 M parameters"), "{}", printed.err);
    let lines = fs::read_to_string(folder.join("out").join("metrics.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let steps: Vec<_> = lines.iter().filter(|line| line.get("reward_std").is_some()).collect();
    assert_eq!((steps.len(), lines.len()), (2, 5));
    assert!(steps.iter().all(|step| step["first_ratio_deviation"] == 0.0));
    assert!(steps.iter().all(|step| step["first_rerouted"] == 0));
    assert!(steps.iter().all(|step| step["answers"] == 6));

    let checkpoint = text(&folder.join("out").join("step-00000002"));
    let out = text(&folder.join("model"));
    let said = succeeds(&["export", &checkpoint, "--out", &out, "--template", "tiny"]).out;
    assert!(said.contains("1.7 M parameters, 3.5 M bytes"), "{said}");
    for name in ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"] {
        assert!(folder.join("model").join(name).is_file(), "{name}");
    }
    assert!(!folder.join("model").join("optimizer.safetensors").exists());
    let chat = succeeds(&["generate", "--model", &out, "--chat", "1+2+3+4+5+6=?", "-n", "60"]);
    let prompt =
        succeeds(&["generate", "--model", &out, "--prompt", "Q: 1+2+3+4+5+6=?\nA: ", "-n", "60"]);
    assert_eq!(chat.out, prompt.out);
    assert!(chat.out.contains("<think>"), "{}", chat.out);
    let error = refuses_data(&["export", &checkpoint, "--out", &out]);
    assert!(error.contains("not empty"), "{error}");
}

#[test]
fn a_run_goes_on_and_another_is_refused() {
    let folder = Folder::empty();
    succeeds(&words(&arguments(&folder, &["--set", "run.steps=1"])));
    let error = refuses_data(&words(&arguments(&folder, &[])));
    assert!(error.contains("--resume"), "{error}");
    let error = refuses_data(&words(&arguments(&folder, &["--resume", "--set", "grpo.beta=0.5"])));
    assert!(error.contains("grpo.beta"), "{error}");
    let printed = succeeds(&words(&arguments(&folder, &["--resume", "-T", "1"])));
    assert!(printed.err.contains("going on from"), "{}", printed.err);
    assert!(printed.out.starts_with("step 2: reward "), "{}", printed.out);
}

#[test]
fn all_settings_are_printed_and_can_be_read_again() {
    let folder = Folder::empty();
    let printed = succeeds(&words(&arguments(&folder, &["--print-config"]))).out;
    for wanted in ["num_generations = 3", "epsilon = 0.2", "ref_model_sync_steps = 400"] {
        assert!(printed.contains(wanted), "{printed}");
    }
    folder.write("all.toml", &printed);
    let again = succeeds(&["rl", &text(&folder.join("all.toml")), "--print-config"]).out;
    assert_eq!(again, printed);
    assert!(!folder.join("out").exists());
}

#[test]
fn variants_are_runs_with_the_settings_that_they_name() {
    let settings = committed("train/rl/ablation.toml");
    let printed = succeeds(&["rl", &settings, "--print-config"]).out;
    assert_eq!(printed.matches("[base]").count(), 21);
    for (wanted, count) in [
        ("mode = \"added\"", 6),
        ("form_weight = 0.0", 3),
        ("scale_rewards = \"none\"", 3),
        ("beta = 0.0\n", 3),
        ("num_iterations = 2", 6),
        ("epsilon_high = 0.28", 3),
        ("seed = 2\nout = \"runs/zero/ablation/as given/seed-2\"", 1),
    ] {
        assert_eq!(printed.matches(wanted).count(), count, "{wanted}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_computed() {
    let folder = Folder::empty();
    let refused = |set: &str| refuses_data(&words(&arguments(&folder, &["--set", set])));
    assert!(refused("grpo.num_generation=4").contains("did you mean grpo.num_generations?"));
    assert!(refused("ablation.variants=[{ name = \"a/b\" }]").contains("names a folder"));
    assert!(refused("ablation.seeds=[1, 1]").contains("1 twice"));
    let unknown = refused("ablation.variants=[{ name = \"a\", set = [\"grpo.bta=0\"] }]");
    assert!(unknown.contains("grpo.bta") && unknown.contains('a'), "{unknown}");
    refuses_usage(&["export", "somewhere"]);
    let out = text(&folder.join("model"));
    let error = refuses_data(&["export", "/nowhere/at/all", "--out", &out]);
    assert!(error.contains("/nowhere/at/all"), "{error}");
    assert!(!folder.join("model").exists() && !folder.join(".model.partial").exists());
}
