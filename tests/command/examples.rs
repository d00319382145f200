//! `latent examples`: a file that training reads, whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::folder::{Folder, text};
use crate::program::{fits_the_terminal, refuses_data, refuses_usage, succeeds};

const SETTINGS: &str = "[task]\nkind.sum = { terms = 3 }\n[examples]\ncount = 400\n";

/// What is trained, small enough for some steps in a test.
const TRAINING: &str = r#"
[model]
attention = "mla"
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 2
intermediate_size = 24
kv_lora_rank = 8
qk_nope_head_dim = 4
qk_rope_head_dim = 4
v_head_dim = 4

[data]
files = [EXAMPLES]
seq_len = 256
batch_size = 4
validation_fraction = 0.2

[run]
steps = 3
out = OUT
"#;

/// A folder with settings.
fn folder() -> Folder {
    let folder = Folder::empty();
    folder.write("examples.toml", SETTINGS);
    folder
}

fn settings(folder: &Folder) -> String {
    text(&folder.join("examples.toml"))
}

fn lines(folder: &Folder, file: &str) -> Vec<Value> {
    let written = fs::read_to_string(folder.join(file)).unwrap();
    assert!(written.ends_with('\n'));
    written.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_is_written_is_trained_on_and_each_kind_has_a_loss() {
    let folder = folder();
    let (config, out) = (settings(&folder), text(&folder.join("examples.jsonl")));
    let printed = succeeds(&["examples", &config, "--out", &out]);
    // Quiet where nobody watches.
    assert_eq!(printed.err, "");
    fits_the_terminal(printed.out.split("file: ").next().unwrap());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let lines = lines(&folder, "examples.jsonl");
    assert_eq!(lines.len(), 400);
    for line in &lines {
        assert_eq!(line.as_object().unwrap().keys().collect::<Vec<_>>(), ["kind", "text"]);
        assert!(line["text"].as_str().unwrap().starts_with("Q: "), "{line}");
        *counts.entry(line["kind"].as_str().unwrap().into()).or_default() += 1;
    }
    let kinds = ["guess", "malformed", "partial", "worked"];
    assert_eq!(counts.keys().collect::<Vec<_>>(), kinds);
    assert!(printed.out.starts_with("400 examples\n"), "{}", printed.out);
    for (kind, count) in &counts {
        let line = printed.out.lines().find(|line| line.trim_start().starts_with(kind)).unwrap();
        assert_eq!(line.split_whitespace().nth(1), Some(&*count.to_string()), "{line}");
    }
    let said = printed.out.lines().find(|line| line.starts_with("right answers")).unwrap();
    let right: usize = said.split([' ', ',']).find_map(|word| word.parse().ok()).unwrap();
    let by_chance = (counts["guess"] + counts["partial"]) / 3;
    assert!((counts["worked"]..counts["worked"] + by_chance).contains(&right), "{said}");
    let tokens = |line: &Value| line["text"].as_str().unwrap().len() + 1;
    let all: usize = lines.iter().map(tokens).sum();
    let longest = lines.iter().map(tokens).max().unwrap();
    let said = printed.out.lines().find(|line| line.starts_with("tokens of bytes: ")).unwrap();
    let found: String = said.chars().filter(|c| c.is_ascii_digit() || *c == ' ').collect();
    let found: Vec<usize> = found.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(found, [all, longest], "{said}");

    let quoted = |path: &str| format!("{:?}", text(&folder.join(path)));
    let training = TRAINING.replace("EXAMPLES", &quoted("examples.jsonl"));
    folder.write("train.toml", training.replace("OUT", &quoted("run")));
    succeeds(&["train", &text(&folder.join("train.toml"))]);
    let metrics = fs::read_to_string(folder.join("run/metrics.jsonl")).unwrap();
    let evaluated = metrics.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let evaluated = evaluated.rev().find(|line| line.get("validation").is_some()).unwrap();
    let found = evaluated["validation"]["kinds"].as_object().unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), kinds);
    assert!(found.values().all(|kind| kind["loss"].as_f64().unwrap().is_finite()));
}

#[test]
fn the_same_settings_write_the_same_bytes_in_place_of_what_was_there() {
    let folder = folder();
    let (config, out) = (settings(&folder), text(&folder.join("examples.jsonl")));
    let write = |set: &str| {
        succeeds(&["examples", &config, "--out", &out, "--set", set]);
        fs::read_to_string(&out).unwrap()
    };
    let first = write("examples.count=400");
    let fewer = write("examples.count=30");
    assert!(first.starts_with(&fewer) && fewer.lines().count() == 30);
    assert_ne!(write("examples.seed=1"), first);
    assert_eq!(write("examples.seed=0"), first);
    assert_eq!(folder.files(), ["examples.jsonl", "examples.toml"]);
}

#[test]
fn examples_are_shown_instead_of_written() {
    let folder = folder();
    let config = settings(&folder);
    let shown = succeeds(&["examples", &config, "--show", "3"]).out;
    let heads: Vec<&str> = shown.lines().filter(|line| line.starts_with("--- ")).collect();
    assert_eq!(heads.len(), 3);
    assert!(heads[2].starts_with("--- 2: "), "{shown}");
    let out = text(&folder.join("examples.jsonl"));
    succeeds(&["examples", &config, "--out", &out]);
    for line in &lines(&folder, "examples.jsonl")[..3] {
        let kind = line["kind"].as_str().unwrap();
        let shown = shown.split("--- ").find(|part| part.contains(line["text"].as_str().unwrap()));
        assert!(shown.is_some() && heads.iter().any(|head| head.contains(kind)), "{line}");
    }
    let all = succeeds(&["examples", &config, "--show", "1000", "--set", "examples.count=5"]).out;
    assert_eq!(all.matches("--- ").count(), 5);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let folder = folder();
    let (config, out) = (settings(&folder), text(&folder.join("examples.jsonl")));
    for (set, wanted) in [
        ("examples.cuont=1", "examples.cuont: unknown key; did you mean examples.count?"),
        ("examples.worked=-1", "examples.worked: found -1, want a finite number of at least 0"),
        ("examples.malformed=2", "examples.malformed: found 2, want from 0 to 1"),
        ("examples.count=many", "examples.count: invalid type: string \"many\", expected u64"),
        (
            "task.kind={ jsonl = { files = ['x.jsonl'] } }",
            "task.kind.jsonl: has no meaning for examples: problems that are read have no worked solution",
        ),
    ] {
        let error = refuses_data(&["examples", &config, "--out", &out, "--set", set]);
        assert_eq!(error, format!("{config}: {wanted}"));
    }
    let too_many = "task.train_problems=1000";
    let error = refuses_data(&["examples", &config, "--out", &out, "--set", too_many]);
    assert!(error.starts_with("task.train_problems: found 1000, want at most "), "{error}");
    let error = refuses_data(&["examples", "/no/such.toml", "--show", "1"]);
    assert!(error.starts_with("/no/such.toml: "), "{error}");
    assert_eq!(folder.files(), ["examples.toml"]);
}

#[test]
fn places_that_cannot_be_written_are_named() {
    let folder = folder();
    let config = settings(&folder);
    folder.write("file", "");
    let inside = text(&folder.join("file/examples.jsonl"));
    let error = refuses_data(&["examples", &config, "--out", &inside]);
    assert!(error.starts_with(&text(&folder.join("file"))), "{error}");
    fs::create_dir(folder.join("taken.jsonl")).unwrap();
    let taken = text(&folder.join("taken.jsonl"));
    let error = refuses_data(&["examples", &config, "--out", &taken]);
    assert_eq!(error, format!("{taken}: is there and not a regular file"));
    // Training would take such a file for one long text.
    let text_file = text(&folder.join("examples.txt"));
    let error = refuses_usage(&["examples", &config, "--out", &text_file]);
    assert!(error.contains("want a name that ends with .jsonl or .ndjson"), "{error}");
    refuses_usage(&["examples", &config]);
    refuses_usage(&["examples", &config, "--show", "0"]);
    refuses_usage(&["examples", &config, "--show", "1", "--out", &text(&folder.join("x.jsonl"))]);
    assert_eq!(folder.files(), ["examples.toml", "file", "taken.jsonl"]);
    let new = text(&folder.join("absent/too/examples.jsonl"));
    succeeds(&["examples", &config, "--out", &new]);
    assert!(Path::new(&new).is_file());
}
