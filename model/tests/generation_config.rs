//! `generation_config.json`: what is read, and what is refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use latent_model::text::{GenerationConfig, TextError};

fn load(text: &str) -> Result<GenerationConfig, TextError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("generation_config.json"), text).unwrap();
    GenerationConfig::from_dir(dir.path())
}

#[test]
fn the_published_form_is_read() {
    let config = load(
        r#"{"_from_model_config": true, "bos_token_id": 0, "eos_token_id": 1, "do_sample": true,
            "temperature": 0.6, "top_p": 0.95, "top_k": 50, "min_p": 0.05,
            "repetition_penalty": 1.1, "max_new_tokens": 2048, "transformers_version": "4.39.3"}"#,
    )
    .unwrap();
    let expected = GenerationConfig {
        eos_token_ids: vec![1],
        stop_strings: Vec::new(),
        do_sample: true,
        temperature: 0.6,
        top_k: Some(50),
        top_p: 0.95,
        min_p: 0.05,
        repetition_penalty: 1.1,
        max_new_tokens: Some(2048),
    };
    assert_eq!(config, expected);
    let sampling = config.sampling(7);
    assert_eq!((sampling.seed, sampling.top_k), (7, Some(50)));
    assert!((sampling.temperature - 0.6).abs() < 1e-12);
}

#[test]
fn an_absent_file_and_an_empty_one_are_the_defaults() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(GenerationConfig::from_dir(dir.path()).unwrap(), GenerationConfig::default());
    assert_eq!(load("{}").unwrap(), GenerationConfig::default());
    assert_eq!(
        load(r#"{"top_k": null, "eos_token_id": null}"#).unwrap(),
        GenerationConfig::default()
    );
}

#[test]
fn end_tokens_may_be_one_or_a_list() {
    assert_eq!(load(r#"{"eos_token_id": 163586}"#).unwrap().eos_token_ids, [163_586]);
    assert_eq!(load(r#"{"eos_token_id": [1, 128001]}"#).unwrap().eos_token_ids, [1, 128_001]);
    assert!(load(r#"{"eos_token_id": []}"#).unwrap().eos_token_ids.is_empty());
}

#[test]
fn stop_strings_may_be_one_or_a_list() {
    assert_eq!(load(r#"{"stop_strings": "END"}"#).unwrap().stop_strings, ["END"]);
    let list = load(r#"{"stop_strings": ["\n\n", "User:"]}"#).unwrap();
    assert_eq!(list.stop_strings, ["\n\n", "User:"]);
    assert!(load(r#"{"stop_strings": null}"#).unwrap().stop_strings.is_empty());
}

#[test]
fn without_drawing_the_sampler_is_greedy() {
    let config = load(r#"{"temperature": 0.6, "top_p": 0.95}"#).unwrap();
    assert!(config.sampling(0).temperature.abs() < 1e-12);
    assert!((config.temperature - 0.6).abs() < 1e-12);
}

#[test]
fn a_top_k_of_zero_keeps_all() {
    assert_eq!(load(r#"{"top_k": 0}"#).unwrap().top_k, None);
}

#[test]
fn values_outside_of_their_range_are_named() {
    let cases = [
        (r#"{"temperature": -1}"#, "temperature"),
        (r#"{"temperature": 1e9}"#, "temperature"),
        (r#"{"top_p": 0}"#, "top_p"),
        (r#"{"top_p": 1.1}"#, "top_p"),
        (r#"{"min_p": 2}"#, "min_p"),
        (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
        (r#"{"max_new_tokens": 0}"#, "max_new_tokens"),
        (r#"{"max_new_tokens": 18446744073709551615}"#, "max_new_tokens"),
        (r#"{"top_k": 18446744073709551615}"#, "top_k"),
        (r#"{"stop_strings": ["END", ""]}"#, "stop[1]"),
    ];
    for (text, field) in cases {
        let message = load(text).unwrap_err().to_string();
        assert!(message.contains("generation_config.json"), "{text}: {message}");
        assert!(message.contains(field), "{text}: {message}");
    }
}

#[test]
fn values_of_another_kind_name_the_place() {
    let cases = [
        "",
        "[]",
        r#"{"eos_token_id": -1}"#,
        r#"{"eos_token_id": "1"}"#,
        r#"{"eos_token_id": 4294967296}"#,
        r#"{"top_k": -5}"#,
        r#"{"temperature": 1e999}"#,
        r#"{"temperature": "hot"}"#,
        r#"{"stop_strings": [1]}"#,
        r#"{"top_p": 0.9, "top_p": 0.8}"#,
    ];
    for text in cases {
        let error = load(text).unwrap_err();
        assert!(matches!(error, TextError::Json { line: 1, .. }), "{text}: {error}");
    }
}
