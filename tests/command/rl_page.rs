//! `latent rl` leaves a page, and `latent report` makes one of any runs of it.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::folder::{Folder, text};
use crate::program::{fits_the_terminal, refuses_data, refuses_usage, succeeds};

const BASE: &str = r#"
[model]
attention = "mla"
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 24
kv_lora_rank = 8
qk_nope_head_dim = 4
qk_rope_head_dim = 4
v_head_dim = 4
max_position_embeddings = 64

[data]
files = [TEXT]
separator = "%%"
seq_len = 16
batch_size = 2
validation_fraction = 0.2

[run]
steps = 1
out = OUT
"#;

const SETTINGS: &str = r#"
[base]
model = BASE

[task]
kind.sum = { terms = 3 }
train_problems = 10
held_out_problems = 4

[reward]
template = "tiny"

[grpo]
num_generations = 2
max_completion_length = 8

[rollout]
questions = 3

[run]
steps = 3
out = RL
eval_every = 2
"#;

/// A folder with a base model and settings, and room for a run in `rl`.
fn folder() -> Folder {
    let folder = Folder::to_train_in("base.toml", BASE);
    succeeds(&["train", &text(&folder.join("base.toml"))]);
    let path = |path: &Path| format!("{:?}", text(path));
    let base = path(&folder.join("out").join("step-00000001"));
    let settings = SETTINGS.replace("BASE", &base).replace("RL", &path(&folder.join("rl")));
    folder.write("rl.toml", settings);
    folder
}

fn page(folder: &Path) -> String {
    fs::read_to_string(folder.join("report.html")).unwrap()
}

#[test]
fn a_run_leaves_a_page_and_names_it() {
    let folder = folder();
    let (settings, out) = (text(&folder.join("rl.toml")), folder.join("rl"));
    let printed = succeeds(&["rl", &settings]);
    assert!(printed.out.contains(&format!("report:     {}/report.html\n", out.display())));
    let first = page(&out);
    assert!(first.contains("<svg") && first.contains("One run of up to 3 steps"));
    assert!(first.contains("known answer: ") && first.contains("grpo.num_generations"));
    // It is that of the report.
    let report = succeeds(&["report", &text(&out)]);
    assert!(report.out.ends_with(&format!("report: {}/report.html\n", out.display())));
    assert_eq!(page(&out), first);
    fits_the_terminal(&report.out);
    // A page that cannot be written does not make the run a failure.
    fs::remove_file(out.join("report.html")).unwrap();
    fs::create_dir(out.join("report.html")).unwrap();
    let again = succeeds(&["rl", &settings, "--resume"]);
    assert!(again.out.starts_with("all 3 steps") && !again.out.contains("report: "));
    assert!(again.err.contains("warning: ") && again.err.contains("report.html"), "{}", again.err);
}

#[test]
fn variants_with_seeds_leave_a_page_of_all_of_them() {
    let folder = folder();
    let settings = text(&folder.join("rl.toml"));
    let plan = fs::read_to_string(&settings).unwrap()
        + "[ablation]\nseeds = [7, 0]\nvariants = [{ name = \"added\", set = [\"reward.mode=added\"] }]\n";
    fs::write(&settings, plan).unwrap();
    let printed = succeeds(&["rl", &settings, "--set", "run.steps=1"]);
    let out = folder.join("rl");
    assert!(printed.out.ends_with(&format!("all runs:   {}/report.html\n", out.display())));
    assert!(!printed.err.contains("warning"), "{}", printed.err);
    let all = page(&out);
    assert!(all.contains("1 as given") && all.contains("2 added") && all.contains("(2 seeds)"));
    assert!(all.contains("2 recipes in 4 runs") && all.contains("reward.mode = added"));
    assert!(page(&out.join("added").join("seed-7")).contains("One run of up to 1 step."));
    succeeds(&["report", &text(&out)]);
    assert_eq!(page(&out), all);
    // A variant's folder is that of its seeds.
    succeeds(&["report", &text(&out.join("added"))]);
    assert!(page(&out.join("added")).contains("One recipe in 2 runs"));
}

#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_leaves_a_page() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    let folder = folder();
    let set = ["--set", "run.steps=100000", "--set", "run.eval_every=0"];
    let settings = text(&folder.join("rl.toml"));
    let mut process = crate::program::command(&[&["rl", &settings], &set[..]].concat());
    let child = process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let metrics = folder.join("rl").join("metrics.jsonl");
    let begin = Instant::now();
    while fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < 3 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no step was taken");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
    let out = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(out, format!("report:     {}/report.html\n", folder.join("rl").display()));
    assert!(page(&folder.join("rl")).contains("<svg"));
}

/// The metrics of a run of some steps, evaluated before and after.
fn metrics(steps: u64) -> String {
    let stats = |accuracy: f64, thinking: f64| {
        json!({
            "answers": 4, "tokens": 12, "reward": accuracy, "accuracy": accuracy, "formed": 1.0,
            "reward_parts": { "match": accuracy, "form": 0, "language": 0, "length": 0 },
            "length": 3.0, "thinking": thinking, "clipped": 0.0,
        })
    };
    let step = |step: u64| {
        let mut line = stats(0.5, 3.0);
        let more = json!({
            "step": step, "questions": 2, "reward_std": 0.1, "frac_reward_zero_std": 0.5,
            "entropy": 1.0, "kl": null, "clip_low": 0, "clip_high": 0, "grad_norm": 1.0,
            "seconds": 2.0, "rollout_seconds": 1.0, "training_seconds": 0.5, "max_vio": {},
        });
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let evaluation = |step: u64, accuracy: f64, thinking: f64| {
        let mut held_out = stats(accuracy, thinking);
        held_out["samples"] = json!([{
            "question": "1 + <b>1", "answer": "2", "text": "<think>\n2", "reward": 0.0,
            "ended": true, "verdict": "unformed",
        }]);
        json!({ "step": step, "held_out": held_out })
    };
    let lines = [evaluation(0, 0.25, 10.0)].into_iter().chain((1..=steps).map(step));
    let lines = lines.chain([evaluation(steps, 0.75, 20.0)]);
    lines.map(|line: Value| format!("{line}\n")).collect()
}

#[test]
fn runs_become_a_table_and_a_page_with_a_curve_for_each() {
    let folder = Folder::empty();
    let run = |name: &str, lines: String| {
        fs::create_dir_all(folder.join(name)).unwrap();
        folder.write(&format!("{name}/metrics.jsonl"), lines);
        text(&folder.join(name))
    };
    let seeds = [run("gated/seed-1", metrics(5)), run("gated/seed-2", metrics(5))];
    // A run that goes on, at its last line.
    let whole = metrics(9);
    let added = run("added", whole[..whole.len() - 40].to_owned());
    let out = text(&folder.join("all.html"));
    let printed = succeeds(&["report", &seeds[0], &seeds[1], &added, "--out", &out]);
    fits_the_terminal(&printed.out);
    assert!(printed.out.contains("25.0 → 75.0") && printed.out.contains("25.0 → 25.0"));
    assert!(printed.out.ends_with(&format!("report: {out}\n")));
    let found = fs::read_to_string(&out).unwrap();
    assert!(found.contains("1 gated") && found.contains("2 added") && !found.contains("<b>1"));
    assert!(found.contains("&lt;think&gt;\n2") && found.contains("✗ wrong form"));
    // With its figures, which are files of their own.
    let plots = folder.join("new/plots");
    succeeds(&["report", &seeds[0], &added, "--out", &out, "--plots", &text(&plots)]);
    let drawn = fs::read_to_string(plots.join("held-out-questions.svg")).unwrap();
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n"), "{drawn}");
    assert!(drawn.contains(">1 gated</text>") && drawn.contains(">2 added</text>"));
    let error = refuses_data(&["report", &added, "--plots", &out]);
    assert!(error.contains(&out), "{error}");
    // By its file, and in its folder.
    let file = format!("{added}/metrics.jsonl");
    assert!(succeeds(&["report", &file, "--out", &out]).out.contains("added"));
    succeeds(&["report", &added]);
    assert!(page(&folder.join("added")).contains("<svg"));
}

#[test]
fn what_is_no_run_is_named() {
    let folder = Folder::empty();
    for name in ["rl", "ablation", "training", "nothing"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    folder.write("rl/metrics.jsonl", metrics(2));
    folder.write("ablation/results.jsonl", "");
    folder.write("training/metrics.jsonl", "{\"step\":1,\"loss\":2.5,\"cross_entropy\":2.5}\n");
    let path = |name: &str| text(&folder.join(name));
    let error = refuses_usage(&["report", &path("rl"), &path("ablation")]);
    assert!(error.contains("rl is of reinforcement learning and "), "{error}");
    assert!(error.contains("ablation is an ablation: a page shows one of both"), "{error}");
    let error = refuses_data(&["report", &path("training")]);
    let wanted =
        "metrics.jsonl: line 1: no step of reinforcement learning: missing field `questions`";
    assert!(error.contains(wanted), "{error}");
    let error = refuses_data(&["report", &path("nothing")]);
    assert!(error.contains("nothing: found neither results.jsonl of an ablation nor "), "{error}");
    assert!(!folder.join("training").join("report.html").exists());
}
