//! `latent perplexity`: a random model with a real tokenizer, so that the figures are those of noise and
//! how they are made is proved.

use latent_model::kernels::Reference;
use latent_model::mla::CacheFormat;
use latent_model::perplexity::{PerplexityOptions, perplexity};
use latent_model::text::Tokenizer;
use latent_model::{Form, LoadOptions, Model};
use serde_json::Value;

use crate::folder::{Folder, text};
use crate::program::{fits_the_terminal, refuses_data, refuses_usage, succeeds};

const TEXT: &str = "the quick brown fox jumps over the lazy dog, and the lazy dog does not mind.\n\
    Grüße — 1,234 of them; what is the answer to the question of life?\n";

/// A model's folder with a text in it.
fn folder() -> Folder {
    let folder = Folder::with_text();
    folder.write("text.txt", TEXT);
    folder
}

fn printed(folder: &Folder, flags: &[&str]) -> String {
    let (dir, file) = (folder.dir(), text(&folder.join("text.txt")));
    let printed = succeeds(&[&["perplexity", "--model", &dir, "--text", &file], flags].concat());
    assert_eq!(printed.err, "");
    printed.out
}

fn json(folder: &Folder, flags: &[&str]) -> Value {
    serde_json::from_str(&printed(folder, &[flags, &["--json"]].concat())).unwrap()
}

fn number(report: &Value, key: &str) -> f64 {
    report[key].as_f64().unwrap_or_else(|| panic!("{key}: {report:#}"))
}

#[test]
fn figures_are_those_of_the_library() {
    let folder = folder();
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    let tokens = tokenizer.encode(TEXT).unwrap();
    let (model, _) =
        Model::load(Reference::<f64>::new(), folder.path(), &LoadOptions::default()).unwrap();
    let options = PerplexityOptions {
        window: 16,
        bos: tokenizer.bos_id(),
        form: Form::Expanded,
        format: CacheFormat::Scalar,
        chunk: None,
    };
    let want = perplexity(&model, &tokens, &options, &mut |_| ()).unwrap();
    let flags = ["--dtype", "f64", "--form", "expanded", "--window", "16"];
    let got = json(&folder, &flags);
    let keys: Vec<&str> = got.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = [
        "backend",
        "bos_token_id",
        "bits_per_byte",
        "bytes_scored",
        "cache",
        "mean_nll",
        "perplexity",
        "seconds",
        "standard_error",
        "tokens",
        "tokens_scored",
        "window",
        "windows",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
    for (key, want) in [
        ("tokens", tokens.len()),
        ("tokens_scored", tokens.len()),
        ("bytes_scored", TEXT.len()),
        ("window", 16),
        ("windows", tokens.len().div_ceil(15)),
        ("bos_token_id", options.bos.unwrap() as usize),
    ] {
        assert_eq!(got[key], want, "{key}");
    }
    for (key, want) in [
        ("mean_nll", want.mean_nll()),
        ("standard_error", want.standard_error().unwrap()),
        ("perplexity", want.perplexity()),
        ("bits_per_byte", want.bits_per_byte(TEXT.len())),
    ] {
        assert!((number(&got, key) / want - 1.0).abs() < 1e-12, "{key}: {got:#}, want {want}");
    }
    let chunked = json(&folder, &[&flags[..], &["--chunk", "3"]].concat());
    assert_eq!(chunked["mean_nll"], got["mean_nll"]);
}

#[test]
fn backends_and_formats_are_near_the_reference() {
    let folder = folder();
    let want = number(&json(&folder, &["--dtype", "f64"]), "mean_nll");
    for (flags, within) in [
        (&["--backend", "reference"][..], 1e-4),
        (&["--backend", "cpu"], 1e-4),
        (&["--backend", "cpu", "--kv-cache-dtype", "bf16"], 0.05),
        (&["--backend", "cpu", "--kv-cache-dtype", "fp8"], 0.2),
        (&["--dtype", "int8"], 0.2),
    ] {
        let got = number(&json(&folder, flags), "mean_nll");
        assert!((got - want).abs() < within, "{flags:?}: {got}, want {want}");
    }
}

#[test]
fn without_a_token_that_opens_a_text_the_first_of_a_window_is_given() {
    let folder = folder();
    folder.edit("tokenizer_config.json", |config| config["add_bos_token"] = false.into());
    let report = json(&folder, &["--window", "8", "--max-tokens", "20"]);
    assert_eq!(report["bos_token_id"], Value::Null);
    assert_eq!((&report["tokens"], &report["windows"]), (&20.into(), &3.into()));
    assert_eq!(report["tokens_scored"], 17);
    let tokenizer = Tokenizer::from_dir(folder.path()).unwrap();
    let tokens = tokenizer.encode(TEXT).unwrap();
    let scored = (0..20).filter(|i| i % 8 != 0);
    let bytes: usize = scored.map(|i| tokenizer.token_bytes(tokens[i]).unwrap().len()).sum();
    assert_eq!(report["bytes_scored"], bytes);
}

#[test]
fn a_person_reads_a_table() {
    let table = printed(&folder(), &["--window", "16"]);
    for row in ["tokens scored", "-ln p of a token", "perplexity", "bits per byte", " ± "] {
        assert!(table.contains(row), "{row}: {table}");
    }
    assert!(table.contains(", cache unrounded\n"), "{table}");
    fits_the_terminal(&table);
    let alone = json(&folder(), &["--max-tokens", "2", "--window", "2"]);
    assert_eq!(alone["tokens_scored"], 2);
}

#[test]
fn a_text_that_cannot_be_scored_is_named() {
    let folder = folder();
    let dir = folder.dir();
    let refused = |file: &str| {
        let path = text(&folder.join(file));
        let error = refuses_data(&["perplexity", "--model", &dir, "--text", &path]);
        error.strip_prefix(&format!("{path}: ")).unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    refused("absent.txt");
    folder.write("empty.txt", "");
    assert_eq!(refused("empty.txt"), "1 token(s) with the one that opens a text, want at least 2");
    folder.write("latin1.txt", b"Gr\xfc\xdfe");
    assert_eq!(refused("latin1.txt"), "invalid utf-8 sequence of 1 bytes from index 2");
    std::fs::create_dir(folder.join("folder.txt")).unwrap();
    refused("folder.txt");
}

#[test]
fn windows_that_cannot_be_meant_are_named() {
    let folder = folder();
    let (dir, file) = (folder.dir(), text(&folder.join("text.txt")));
    let fixed = ["perplexity", "--model", &dir, "--text", &file];
    for (flags, wanted) in [
        (["--window", "0"], "want at least 2"),
        (["--window", "1"], "want at least 2"),
        (["--window", "x"], "invalid digit"),
        (["--max-tokens", "1"], "want at least 2"),
        (["--window", "1000000000"], "window: must be 2 to "),
    ] {
        let error = refuses_usage(&[&fixed[..], &flags].concat());
        assert!(error.contains(wanted), "{flags:?}: {error}");
    }
    assert!(refuses_usage(&fixed[..3]).contains("--text <FILE>"));
}

#[test]
fn a_model_without_a_tokenizer_is_named() {
    let (folder, text_only) = (Folder::of("llama"), folder());
    let (dir, file) = (folder.dir(), text(&text_only.join("text.txt")));
    let error = refuses_data(&["perplexity", "--model", &dir, "--text", &file]);
    assert!(error.starts_with(&format!("{dir}/tokenizer.json: not found")), "{error}");
}
