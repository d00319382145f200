//! `latent claims`: every claim with a verdict, and a page.

use std::fs;

use crate::folder::{Folder, text};
use crate::program::{fits_the_terminal, refuses_data, refuses_usage, succeeds};

fn claims(folder: &Folder, more: &[&str]) -> Vec<String> {
    let out = text(&folder.join("out"));
    let all = [&["claims", "--out", out.as_str()], more].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn words(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

#[test]
fn every_embedded_case_holds() {
    let folder = Folder::empty();
    let printed = succeeds(&words(&claims(&folder, &["conformance"])));
    for case in
        ["v2_lite", "v2", "v3", "v3_fp8", "v3_mtp", "moonlight", "kimi_k2", "deepseek", "llama"]
    {
        let row = |line: &&str| line.split_whitespace().any(|word| word == case);
        let row = printed.out.lines().find(row).unwrap();
        assert!(row.contains("holds") && !row.contains("DIFFER"), "{row}");
    }
    assert!(!printed.out.contains("FAILS"), "{}", printed.out);
    assert!(printed.out.contains("9 of 9 random checkpoints"), "{}", printed.out);
    fits_the_terminal(&printed.out);
    assert_eq!(printed.err, "", "progress is for terminals");
}

#[test]
fn a_running_cache_is_as_small_as_is_claimed() {
    let folder = Folder::empty();
    let printed = succeeds(&words(&claims(&folder, &["compression"])));
    for wanted in ["93.34 %", "1,152", "1.76 %", "65,536", "656 ", "  holds\n"] {
        assert!(printed.out.contains(wanted), "{wanted} is not in\n{}", printed.out);
    }
    let page = fs::read_to_string(folder.join("out").join("report.html")).unwrap();
    assert!(page.contains("Compression saves cache memory") && page.contains("65,536"));
}

/// Runs that are far too short to say anything: that all is computed and shown.
#[test]
fn claims_on_trained_models_are_each_judged() {
    let folder = Folder::empty();
    let short = [
        "run.steps=2",
        "run.eval_every=0",
        "run.eval_batches=24",
        "data.seq_len=16",
        "data.batch_size=2",
        "schedule.warmup=0",
        "ablation.seeds=[7]",
        "rl.run.steps=2",
        "rl.run.eval_every=1",
        "rl.rollout.questions=2",
        "rl.grpo.num_generations=2",
        "rl.task.held_out_problems=4",
    ];
    let set = short.iter().flat_map(|setting| ["--set", setting]);
    let names = ["quality", "sparsity", "subjects", "balance", "rewards", "growth", "problems"];
    let printed =
        succeeds(&words(&claims(&folder, &names.into_iter().chain(set).collect::<Vec<_>>())));
    fits_the_terminal(&printed.out);
    let said = ["It costs little quality", "GQA", "dense, equal active", "drama", "no balancing"];
    for wanted in said {
        assert!(printed.out.contains(wanted), "{wanted} is not in\n{}", printed.out);
    }
    assert!(printed.out.contains("1 seed of 64 tokens"), "{}", printed.out);
    assert!(printed.out.contains("1 seed of 2 steps"), "{}", printed.out);
    assert!(!printed.out.contains("NaN"), "{}", printed.out);
    let page = fs::read_to_string(folder.join("out").join("report.html")).unwrap();
    assert!(page.contains("The runs behind") || page.contains("<svg"), "no figures");
    // Runs of a quick preset do not stay.
    let left: Vec<_> = fs::read_dir(folder.join("out")).unwrap().collect();
    assert_eq!(left.len(), 1);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_computed() {
    let folder = Folder::empty();
    let error = refuses_usage(&words(&claims(&folder, &["qualty"])));
    assert!(error.contains("quality"), "{error}");
    refuses_usage(&words(&claims(&folder, &["--quick", "--full"])));
    let error = refuses_data(&words(&claims(&folder, &["quality", "--set", "run.stepps=1"])));
    assert!(error.contains("did you mean run.steps?"), "{error}");
    folder.write("file", "x");
    let inside = text(&folder.join("file").join("inside"));
    let error = refuses_data(&["claims", "compression", "--out", &inside]);
    assert!(error.starts_with(&inside), "{error}");
}
