//! Commands that cannot be meant, and readers that go away.

use std::process::Stdio;

use crate::folder::{Folder, case, text};
use crate::program::{command, fits_the_terminal, refuses_usage, succeeds};

#[test]
fn a_command_that_cannot_be_meant_exits_with_2() {
    for args in [
        &["fly"][..],
        &["--fly"],
        &["inspect"],
        &["inspect", "deepseek-v9"],
        &["kv", "--what"],
        &["kv", "--model", "deepseek-v9"],
        &["generate"],
        &["logits", "--model", "x", "--tokens", "1"],
    ] {
        refuses_usage(args);
    }
    let error = refuses_usage(&["inspect", "deepseek-v9"]);
    let known = "neither a path nor one of deepseek-moe-16b, deepseek-v2-lite, deepseek-v2,";
    assert!(error.contains(known), "{error}");
}

/// The flag or the setting, its value, and what is wanted.
#[test]
fn settings_out_of_range_are_named() {
    let model = case("v3");
    for (flags, wanted) in [
        (&["--temperature", "NaN"][..], "temperature: must be in [0, 100], got NaN"),
        (&["--temperature", "-1"], "temperature: must be in [0, 100], got -1"),
        (&["--temperature", "1e9"], "temperature: must be in [0, 100], got 1000000000"),
        (&["--temperature", "hot"], "--temperature"),
        (&["--top-p", "0"], "top_p: must be in (0, 1], got 0"),
        (&["--top-p", "1.1"], "top_p: must be in (0, 1], got 1.1"),
        (&["--top-k", "-5"], "-5"),
        (&["--min-p", "2"], "min_p: must be in [0, 1], got 2"),
        (&["--repetition-penalty", "0"], "repetition_penalty: must be "),
        (&["--chunk", "0"], "want at least 1"),
        (&["--max-model-len", "0"], "want at least 1"),
        (&["--max-model-len", "3"], "prompt of 3 tokens leaves no room in 3"),
        (&["--max-new-tokens", "-1"], "-1"),
        (&["--stop", ""], "stop[0]: must be 1 to 1024 bytes long, got 0 bytes"),
        (&["--form", "compressed"], "[possible values: expanded, absorbed, auto]"),
        (&["--dtype", "int4"], "[possible values: f32, f64, bf16, int8]"),
        (&["--kv-cache-dtype", "int1"], "[possible values: auto, bf16, fp8]"),
        (&["--backend", "abacus"], "[possible values: auto, cpu, reference, gpu]"),
        (&["--prompt", "both"], "cannot be used with"),
    ] {
        let fixed = ["generate", "--model", &model, "--tokens", "1,2,3"];
        let error = refuses_usage(&[&fixed[..], flags].concat());
        assert!(error.contains(wanted), "{flags:?}: {error}");
    }
}

#[test]
fn token_ids_are_numbers() {
    let folder = Folder::empty();
    let (model, out) = (case("v3"), text(&folder.join("x.safetensors")));
    for tokens in ["", "1,x", "1,,2", "-1", "1.5", "4294967296", "1 2"] {
        let tokens = format!("--tokens={tokens}");
        let error = refuses_usage(&["generate", "--model", &model, &tokens]);
        assert!(error.contains("token id"), "{tokens}: {error}");
        let error = refuses_usage(&["logits", "--model", &model, &tokens, "--out", &out]);
        assert!(error.contains("token id"), "{tokens}: {error}");
    }
    assert_eq!(folder.files(), [""; 0]);
}

#[test]
fn more_tokens_than_memory_holds_are_refused() {
    let folder = Folder::empty();
    let (model, out) = (case("v3"), text(&folder.join("x.safetensors")));
    for n in ["1048577", "18446744073709551615"] {
        let args = ["logits", "--model", &model, "--tokens", "1", "--out", &out, "--generate", n];
        assert!(refuses_usage(&args).contains("want at most 1048576"));
    }
}

#[test]
fn help_fits_the_terminal_and_has_examples_of_every_command() {
    let help = succeeds(&["--help"]).out;
    for subcommand in ["chat", "generate", "grad", "inspect", "kv", "logits", "perplexity", "train"]
    {
        assert!(help.contains(subcommand), "{help}");
        let own = succeeds(&[subcommand, "--help"]).out;
        assert!(own.contains(&format!("Examples:\n  latent {subcommand}")), "{own}");
        fits_the_terminal(&own);
    }
    fits_the_terminal(&help);
}

/// As with `| head -1`, on either stream.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let model = case("v3");
    let tokens = ["generate", "--model", &model, "--tokens", "1,2", "--ignore-eos"];
    for args in [&["kv"][..], &["inspect", "deepseek-v3"], &[], &tokens] {
        let mut child =
            command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
    let mut child = command(&["inspect", "deepseek-v9"]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}
