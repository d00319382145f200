//! Rows C1, C2 and C16: the file, its JSON and its keys.

use latent_model::config::{ConfigError, ModelConfig, Warning};
use serde_json::json;

use crate::examples::{error_of, read, set, v3};

#[test]
fn c1_a_missing_file_is_named_with_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let error = ModelConfig::from_dir(dir.path()).unwrap_err();
    let dir = dir.path().display();
    let want = format!("config.json not found in {dir} (looked for {dir}/config.json)");
    assert_eq!(error.to_string(), want);
}

#[test]
fn c1_what_is_not_a_regular_file_is_an_error_and_never_blocks() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("config.json")).unwrap();
    let error = ModelConfig::from_dir(dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("config.json: not a regular file"), "{error}");
}

#[test]
fn c1_a_file_that_is_not_utf8_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), b"{\"model_type\": \"\xff\"}").unwrap();
    assert!(matches!(ModelConfig::from_dir(dir.path()), Err(ConfigError::Io { .. })));
}

#[test]
fn c2_invalid_json_is_placed() {
    let cases = [
        ("", "line 1 col 0: the file is empty"),
        (" \n", "line 1 col 0: the file is empty"),
        ("\u{feff}{}", "line 1 col 1: a byte order mark: save the file as UTF-8 without BOM"),
        ("{\n  \"a\": ?\n}", "line 2 col 8: expected value"),
        ("{\"a\": 1} {", "line 1 col 10: trailing characters"),
        ("{\"a\": 1,}", "line 1 col 9: trailing comma"),
    ];
    for (text, want) in cases {
        assert_eq!(error_of(text), format!("config.json: invalid JSON at {want}"));
    }
    assert_eq!(error_of("[]"), "config.json: the document: must be an object, got an array of 0");
}

#[test]
fn c2_deep_nesting_is_an_error_and_no_stack_overflow() {
    for bomb in ["[".repeat(200_000), "{\"a\":".repeat(200_000)] {
        assert!(error_of(&bomb).contains("recursion limit exceeded"));
    }
}

#[test]
fn c16_a_key_twice_is_rejected_at_any_depth() {
    let twice = v3().to_string().replacen('{', "{\"hidden_size\":80,", 1);
    assert!(error_of(&twice).ends_with("duplicate key \"hidden_size\""), "{}", error_of(&twice));
    let nested = v3().to_string().replace("\"beta_slow\":1", "\"beta_slow\":1,\"beta_slow\":2");
    assert!(error_of(&nested).ends_with("duplicate key \"beta_slow\""), "{}", error_of(&nested));
    let unread = "{\"a\": [{\"b\": {\"c\": 1, \"\\u0063\": 1}}]}";
    assert!(error_of(unread).ends_with("duplicate key \"c\""), "{}", error_of(unread));
}

#[test]
fn c16_an_unknown_key_is_warned_of_once() {
    let text = set("hiden_size", json!(1)).to_string();
    let (config, warnings) = ModelConfig::from_json(&text).unwrap();
    let key = "hiden_size".into();
    assert_eq!(warnings, [Warning::UnknownKey { file: "config.json".into(), key }]);
    assert_eq!(warnings[0].to_string(), "config.json: unknown key \"hiden_size\" is ignored");
    assert_eq!(config, read(&v3()));
}
