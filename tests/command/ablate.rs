//! `latent ablate` and `latent report`: from settings to a table and a page, whatever interrupts them.

use std::fs;

use crate::folder::{Folder, text};
use crate::program::{fits_the_terminal, refuses_data, succeeds};

const SETTINGS: &str = r#"
[model]
attention = "mla"
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 4
intermediate_size = 24
kv_lora_rank = 8
qk_nope_head_dim = 4
qk_rope_head_dim = 4
v_head_dim = 4

[model.experts]
n_routed_experts = 4
num_experts_per_tok = 2
moe_intermediate_size = 8
first_k_dense_replace = 1

[data]
files = [TEXT]
separator = "%%"
seq_len = 16
batch_size = 2
validation_fraction = 0.2

[run]
steps = 6
out = OUT
eval_every = 3
checkpoint_every = 1

[ablation]
seeds = [3, 4]
axes.attention = ["mla", "mha", "gqa"]
[[ablation.variants]]
name = "dense <all>"
feed_forward = "dense"
"#;

/// A folder with settings and a text, and room for runs.
fn folder() -> Folder {
    Folder::to_train_in("ablation.toml", SETTINGS)
}

fn page(folder: &Folder) -> String {
    fs::read_to_string(folder.join("out").join("report.html")).unwrap()
}

/// The results without their speeds, in the order of their names.
fn results(folder: &Folder) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(folder.join("out").join("results.jsonl")).unwrap();
    let mut results: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    results.iter_mut().for_each(|result| result["tokens_per_second"] = 0.into());
    results.sort_by_key(|result| format!("{} {}", result["variant"], result["seed"]));
    results
}

#[test]
fn variants_become_a_table_and_a_page() {
    let folder = folder();
    let settings = text(&folder.join("ablation.toml"));
    let printed = succeeds(&["ablate", &settings]);
    fits_the_terminal(&printed.out);
    for name in ["mla", "mha", "gqa", "dense <all>"] {
        assert!(printed.out.contains(name), "{name} is not in\n{}", printed.out);
    }
    let said: Vec<&str> = printed.err.lines().collect();
    assert_eq!(said.len(), 1 + 8, "{}", printed.err);
    assert!(said[0].starts_with("4 variants with 2 seeds, "), "{}", said[0]);
    let ended = |line: &&&str| line.contains(" (seed ") && line.contains("): validation loss ");
    assert_eq!(said.iter().filter(ended).count(), 8, "{}", printed.err);
    let first = page(&folder);
    assert!(
        first.contains("<svg") && first.contains("dense &lt;all&gt;") && !first.contains("<all>")
    );
    assert_eq!(results(&folder).len(), 8);
    // Each run is a model as any other.
    let model = text(&folder.join("out").join("gqa").join("seed-3").join("step-00000006"));
    assert!(
        !succeeds(&["generate", "--model", &model, "--prompt", "7 s", "-n", "4"]).out.is_empty()
    );

    // Again: nothing is computed.
    let again = succeeds(&["ablate", &settings, "--resume"]);
    assert_eq!(again.out, printed.out);
    assert_eq!(again.err.matches(", from before").count(), 8, "{}", again.err);
    // From the results alone.
    let report = succeeds(&["report", &text(&folder.join("out"))]);
    let table = |out: &str| out.split("\nreport").next().unwrap().to_owned();
    let sorted = |out: &str| {
        let mut lines: Vec<String> = table(out).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&report.out).len(), sorted(&printed.out).len());
    let elsewhere = text(&folder.join("page.html"));
    let file = text(&folder.join("out").join("results.jsonl"));
    succeeds(&["report", &file, "--out", &elsewhere]);
    assert!(fs::read_to_string(&elsewhere).unwrap().contains("dense &lt;all&gt;"));
}

#[test]
fn what_cannot_be_is_refused() {
    let folder = folder();
    let settings = text(&folder.join("ablation.toml"));
    let error = refuses_data(&["ablate", &settings, "--set", "ablation.axes.attention=[\"mlb\"]"]);
    assert!(error.contains("found \"mlb\", want mha, gqa, "), "{error}");
    let error = refuses_data(&["ablate", &settings, "--set", "ablation.sedes=[1]"]);
    assert!(error.ends_with("did you mean ablation.seeds?"), "{error}");
    assert!(!folder.join("out").exists(), "nothing is written before the settings hold");
    let error = refuses_data(&["report", &text(&folder.join("nothing"))]);
    assert!(error.contains("nothing: "), "{error}");
    let error = refuses_data(&["report", &settings]);
    assert!(error.contains("ablation.toml: line 2: no result of a run: "), "{error}");
    let short = ["--set", "run.steps=1", "--set", "ablation.seeds=[1]"];
    succeeds(&[&["ablate", &settings], &short[..]].concat());
    let error = refuses_data(&[&["ablate", &settings], &short[..]].concat());
    assert!(error.contains("holds a run: results.jsonl; go on with it by --resume"), "{error}");
}

#[cfg(unix)]
#[test]
fn an_ablation_that_is_interrupted_goes_on_to_the_same_results() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use crate::program::command;

    let (interrupted, whole) = (folder(), folder());
    let long = ["--set", "run.steps=60", "--set", "ablation.seeds=[3]", "--jobs", "2"];
    let with = |folder: &Folder, more: &[&str]| {
        let settings = text(&folder.join("ablation.toml"));
        let all = [&["ablate", settings.as_str()], &long[..], more].concat();
        all.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let words = |all: &[String]| all.iter().map(String::as_str).collect::<Vec<&str>>().join("\n");
    let run = |all: Vec<String>| {
        let words = words(&all);
        command(&words.split('\n').collect::<Vec<_>>())
    };
    assert!(
        run(with(&whole, &[]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let mut process = run(with(&interrupted, &[]));
    let child = process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let first = interrupted.join("out").join("mla").join("seed-3").join("step-00000003");
    let begin = Instant::now();
    while !first.exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no run began");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert!(said.contains("go on with the same command (ablate: with --resume)"), "{said}");
    assert!(results(&interrupted).len() < 4, "it came to its end");
    let mut process = run(with(&interrupted, &["--resume"]));
    assert!(process.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    assert_eq!(results(&interrupted), results(&whole));
}
