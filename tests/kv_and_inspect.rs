//! `latent kv` and `latent inspect` as a user meets them.

use std::path::Path;
use std::process::{Command, Output};

fn latent(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_latent")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn case(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance").join(name);
    dir.to_str().unwrap().to_owned()
}

#[test]
fn kv_shows_every_ladder_and_the_three_savings() {
    let output = latent(&["kv"]);
    let text = stdout(&output);
    for wanted in
        ["4,997,120", "70,272", "40,016", "31,104", "69,120", "93.34 %", "82.24 %", "98.24 %"]
    {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn kv_takes_a_folder_and_writes_a_plot() {
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("ladder.svg");
    let output = latent(&["kv", "--model", &case("v3"), "--svg", svg.to_str().unwrap()]);
    let text = stdout(&output);
    // 4 layers of a latent of 36 and a rotated key of 16, 2 bytes each.
    assert!(text.contains("416"), "{text}");
    let svg = std::fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("MLA, FP8"), "{svg}");
}

#[test]
fn kv_names_the_file_that_it_cannot_write() {
    let output = latent(&["kv", "--model", "kimi-k2", "--svg", "/no/such/folder/ladder.svg"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: /no/such/folder/ladder.svg: "));
}

#[test]
fn inspect_counts_what_the_files_hold() {
    let output = latent(&["inspect", &case("v3_fp8")]);
    let text = stdout(&output);
    for wanted in ["deepseek_v3", "F8_E4M3", "FP8 e4m3, a scale per 128 x 128", "1 files"] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    assert!(text.lines().skip(1).all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn inspect_takes_an_embedded_name_and_a_file() {
    let output = latent(&["inspect", "deepseek-v3"]);
    let text = stdout(&output);
    for wanted in ["671.0 B", "256 routed", "multi-token prediction", "none here"] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    let output = latent(&["inspect", &format!("{}/config_v5.json", case("v2"))]);
    assert!(stdout(&output).contains("group_limited_greedy, 2 of 4 groups"));
}

#[test]
fn what_is_unsupported_is_an_error_of_data() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().to_str().unwrap();
    let output = latent(&["inspect", model]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("config.json not found in"), "{}", stderr(&output));
    std::fs::write(dir.path().join("config.json"), r#"{"model_type": "deepseek_v4"}"#).unwrap();
    let output = latent(&["inspect", model]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("unsupported model_type \"deepseek_v4\"; supported:"));
}

#[test]
fn a_command_that_cannot_be_meant_is_an_error_of_usage() {
    for args in [&["inspect", "deepseek-v9"][..], &["kv", "--what"], &["inspect"], &["fly"]] {
        let output = latent(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let output = latent(&["inspect", "deepseek-v9"]);
    assert!(stderr(&output).contains("neither a path nor one of deepseek-v2-lite, deepseek-v2,"));
}
