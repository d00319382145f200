//! `latent generate` from token ids.

use std::fs;

use crate::folder::{CASES, Folder, case, expected, list};
use crate::program::succeeds;

/// The ids that the folder's model goes on with, greedily, after a case's prompt.
fn ids(dir: &str, prompt: &[u32], flags: &[&str]) -> Vec<u32> {
    let tokens = list(prompt);
    let printed =
        succeeds(&[&["generate", "--model", dir, "--tokens", &tokens, "-n", "16"], flags].concat());
    let line = printed.out.strip_suffix('\n').unwrap();
    line.split(',').filter(|id| !id.is_empty()).map(|id| id.parse().unwrap()).collect()
}

#[test]
fn greedy_ids_are_those_of_the_conformance_pack() {
    for name in CASES {
        let want = expected(name);
        let found = ids(&case(name), &want.input_ids, &["--ignore-eos", "--dtype", "f64"]);
        assert_eq!(found, want.greedy, "{name}");
    }
    let want = expected("v3");
    for form in ["expanded", "absorbed"] {
        let flags = ["--ignore-eos", "--form", form, "--chunk", "5", "--no-mmap"];
        assert_eq!(ids(&case("v3"), &want.input_ids, &flags), want.greedy, "{form}");
    }
}

#[test]
fn only_ids_are_on_standard_output() {
    let flags = ["--tokens", "5,17", "-n", "3", "--ignore-eos"];
    let printed = succeeds(&[&["generate", "--model", &case("v3")], &flags[..]].concat());
    assert!(printed.out.trim_end().split(',').all(|id| id.parse::<u32>().is_ok()));
    assert_eq!(printed.out.lines().count(), 1);
    // Progress is for terminals: one line of account is all there is.
    assert!(printed.err.starts_with("latent: prompt 2 tokens in "), "{}", printed.err);
    assert!(printed.err.ends_with("; limit of 3 tokens\n"), "{}", printed.err);
    assert_eq!(printed.err.lines().count(), 1);
}

#[test]
fn a_single_token_is_a_prompt() {
    assert_eq!(ids(&case("v3"), &[5], &["--ignore-eos"]).len(), 16);
}

#[test]
fn the_context_bounds_prompt_and_answer_together() {
    let prompt = expected("v3").input_ids;
    let found = ids(&case("v3"), &prompt, &["--ignore-eos", "--max-model-len", "27"]);
    assert_eq!(found, expected("v3").greedy[..3]);
    let endless = ["-n", "18446744073709551615", "--max-model-len", "4", "--ignore-eos"];
    let printed =
        succeeds(&[&["generate", "--model", &case("v3"), "--tokens", "1"], &endless[..]].concat());
    assert_eq!(printed.out.split(',').count(), 3);
}

/// An answer ends at the tokens of `generation_config.json`, else at those of `config.json`.
#[test]
fn the_first_file_that_says_where_answers_end_counts() {
    let (folder, want) = (Folder::of("v3"), expected("v3"));
    let fresh = |k: &usize| !want.greedy[..*k].contains(&want.greedy[*k]);
    let [early, late] = [(1..8).find(fresh).unwrap(), (8..16).find(fresh).unwrap()];
    let found = |flags: &[&str]| ids(&folder.dir(), &want.input_ids, flags);
    let end =
        |at: usize| folder.edit("config.json", |c| c["eos_token_id"] = want.greedy[at].into());

    end(early);
    assert_eq!(found(&[]), want.greedy[..early]);
    assert_eq!(found(&["--ignore-eos"]), want.greedy);
    folder.write("generation_config.json", "{}");
    assert_eq!(found(&[]), want.greedy[..early]);
    let several = format!(r#"{{"eos_token_id": [319, {}]}}"#, want.greedy[late]);
    folder.write("generation_config.json", several);
    assert_eq!(found(&[]), want.greedy[..late]);
    fs::remove_file(folder.join("generation_config.json")).unwrap();
    folder.edit("config.json", |config| config["eos_token_id"] = serde_json::Value::Null);
    assert_eq!(found(&[]), want.greedy);
}

#[test]
fn the_models_own_settings_count_where_a_flag_is_not_given() {
    let (folder, want) = (Folder::of("v3"), expected("v3"));
    let own = r#"{"do_sample": true, "temperature": 5.0, "max_new_tokens": 4}"#;
    folder.write("generation_config.json", own);
    let (dir, tokens) = (folder.dir(), list(&want.input_ids));
    let fixed = ["generate", "--model", &dir, "--tokens", &tokens, "--ignore-eos"];
    let run = |flags: &[&str]| succeeds(&[&fixed[..], flags].concat()).out;
    assert_eq!(run(&["--temperature", "0"]), format!("{}\n", list(&want.greedy[..4])));
    assert_ne!(run(&[]), run(&["--temperature", "0"]));
    assert_eq!(run(&["--top-k", "1"]), run(&["--temperature", "0"]));
    assert_eq!(run(&["-n", "9", "--top-k", "1"]), format!("{}\n", list(&want.greedy[..9])));
}

#[test]
fn the_same_seed_gives_the_same_ids() {
    let prompt = expected("v3").input_ids;
    let run =
        |seed| ids(&case("v3"), &prompt, &["--ignore-eos", "--temperature", "1", "--seed", seed]);
    assert_eq!(run("1"), run("1"));
    assert_ne!(run("1"), run("2"));
}
