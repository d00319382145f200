//! Tokenizers from files: what is accepted, what is refused, and text in and out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use latent_model::text::{TextError, Tokenizer};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use serde_json::{Value, json};

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tiny_tokenizer");
const BOS: &str = "<｜begin▁of▁sentence｜>";

fn tiny() -> Tokenizer {
    Tokenizer::from_dir(TINY.as_ref()).unwrap()
}

fn tiny_json() -> Value {
    let text = fs::read_to_string(Path::new(TINY).join("tokenizer.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn load(text: &str) -> Result<Tokenizer, TextError> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), text).unwrap();
    Tokenizer::from_dir(dir.path())
}

fn load_changed(change: impl FnOnce(&mut Value)) -> Result<Tokenizer, TextError> {
    let mut json = tiny_json();
    change(&mut json);
    load(&json.to_string())
}

/// The tiny tokenizer with one pattern in front of its others.
fn load_with_pattern(pattern: &str) -> Result<Tokenizer, TextError> {
    load_changed(|json| {
        let step = json!({
            "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false
        });
        json["pre_tokenizer"]["pretokenizers"].as_array_mut().unwrap().insert(0, step);
    })
}

fn refusal(result: Result<Tokenizer, TextError>) -> String {
    result.expect_err("the file is bad").to_string()
}

fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not name {part:?}");
    }
}

#[test]
fn ids_are_those_of_the_python_library() {
    let expected: [(&str, &[u32]); 3] = [
        (
            "The quick brown fox\n\n  jumps 12345 times.",
            &[
                87, 107, 104, 336, 324, 279, 13, 13, 35, 280, 35, 52, 53, 54, 55, 56, 35, 119, 108,
                112, 301, 49,
            ],
        ),
        (
            "fn main() {\n\tprintln!(\"hi\");\n}\n",
            &[
                105, 113, 35, 112, 100, 311, 43, 44, 35, 126, 13, 12, 115, 117, 311, 119, 111, 113,
                36, 43, 37, 107, 108, 37, 44, 62, 13, 128, 13,
            ],
        ),
        (
            "こんにちは世界 한국어",
            &[
                230, 132, 150, 230, 133, 150, 230, 132, 174, 230, 132, 164, 230, 132, 178, 231,
                187, 153, 234, 152, 143, 35, 240, 152, 159, 237, 184, 176, 239, 153, 183,
            ],
        ),
    ];
    for (text, ids) in expected {
        assert_eq!(tiny().encode(text).unwrap(), ids, "{text:?}");
    }
}

#[test]
fn roles_come_from_the_config_as_text_or_object() {
    let tokenizer = tiny();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(0), Some(1)));
    assert_eq!(tokenizer.max_id(), 342);
    assert!(tokenizer.config().add_bos_token);
}

#[test]
fn control_text_is_plain_text_unless_asked_for() {
    let tokenizer = tiny();
    for (token, id) in [(BOS, 0), ("<｜User｜>", 339), ("<think>", 341)] {
        let plain = tokenizer.encode(&format!("a{token}b")).unwrap();
        assert!(plain.iter().all(|&i| i > 2 && i < 339), "{token}: {plain:?}");
        assert_eq!(tokenizer.decode(&plain).unwrap(), format!("a{token}b"));
        let special = tokenizer.encode_with_special(&format!("a{token}b")).unwrap();
        assert_eq!(special, [100, id, 101]);
    }
}

#[test]
fn merges_may_be_pairs_or_strings() {
    let pairs = load_changed(|json| {
        let merges = json["model"]["merges"].as_array_mut().unwrap();
        for merge in merges {
            let (left, right) = merge.as_str().unwrap().split_once(' ').unwrap();
            *merge = json!([left, right]);
        }
    });
    let text = "the quick brown fox";
    assert_eq!(pairs.unwrap().encode(text).unwrap(), tiny().encode(text).unwrap());
}

#[test]
fn a_missing_tokenizer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let message = refusal(Tokenizer::from_dir(dir.path()));
    assert_names(&message, &["tokenizer.json", "not found"]);
}

#[test]
fn a_folder_in_place_of_the_file_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tokenizer.json")).unwrap();
    let message = refusal(Tokenizer::from_dir(dir.path()));
    assert_names(&message, &["tokenizer.json", "not a regular file"]);
}

#[test]
fn invalid_json_names_file_and_place() {
    for text in ["", "{", "\u{feff}{}", "[1, 2", "{\"model\": 3}", &"[".repeat(200_000)] {
        assert_names(&refusal(load(text)), &["tokenizer.json", "line 1 column"]);
    }
}

#[test]
fn a_merge_of_an_unknown_token_names_it() {
    for merge in [json!("the zebra"), json!(["the", "zebra"])] {
        let changed = load_changed(|json| json["model"]["merges"][3] = merge);
        assert_names(&refusal(changed), &["merges[3]", "zebra"]);
    }
}

#[test]
fn a_merge_without_two_tokens_is_named() {
    for merge in ["the", "a b c", ""] {
        let changed = load_changed(|json| json["model"]["merges"][3] = json!(merge));
        assert_names(&refusal(changed), &["merges[3]", "left right"]);
    }
}

#[test]
fn a_merge_whose_result_is_unknown_names_it() {
    let changed = load_changed(|json| json["model"]["merges"][3] = json!("a ~"));
    assert_names(&refusal(changed), &["merges[3]", "\"a~\""]);
}

#[test]
fn a_merge_that_makes_a_control_token_is_refused() {
    let changed = load_changed(|json| {
        let id = json["model"]["vocab"]["th"].clone();
        json["added_tokens"].as_array_mut().unwrap().push(json!({
            "id": id, "content": "th", "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false, "special": true
        }));
    });
    assert_names(&refusal(changed), &["th", "no merge makes"]);
}

#[test]
fn duplicate_and_huge_ids_name_the_token() {
    let duplicate = load_changed(|json| json["model"]["vocab"]["a"] = json!(101));
    assert_names(&refusal(duplicate), &["id 101", "\"a\"", "\"b\""]);
    for id in [4_000_000_000_u64, 1 << 22, u64::MAX] {
        let huge = load_changed(|json| json["model"]["vocab"]["a"] = json!(id));
        assert_names(&refusal(huge), &["\"a\"", &id.to_string(), "4194304"]);
        let huge = load_changed(|json| json["added_tokens"][4]["id"] = json!(id));
        assert_names(&refusal(huge), &["｜Assistant｜", &id.to_string(), "4194304"]);
    }
    for id in [json!(-1), json!(1.5), json!("7"), Value::Null] {
        let changed = load_changed(|json| json["model"]["vocab"]["a"] = id);
        assert_names(&refusal(changed), &["tokenizer.json", "line 1 column"]);
    }
}

#[test]
fn a_token_given_twice_is_named() {
    let text =
        tiny_json().to_string().replacen("\"vocab\":{", "\"vocab\":{\"the\":9,\"the\":9,", 1);
    assert_names(&refusal(load(&text)), &["\"the\"", "twice"]);
    let added = load_changed(|json| json["added_tokens"][5]["content"] = json!("<｜User｜>"));
    assert_names(&refusal(added), &["｜User｜", "twice"]);
}

#[test]
fn added_ids_that_clash_or_leave_a_gap_are_named() {
    let taken = load_changed(|json| json["added_tokens"][4]["id"] = json!(100));
    assert_names(&refusal(taken), &["｜Assistant｜", "id 100", "\"a\""]);
    let shared = load_changed(|json| json["added_tokens"][4]["id"] = json!(339));
    assert_names(&refusal(shared), &["｜Assistant｜", "id 339", "｜User｜"]);
    let moved = load_changed(|json| json["added_tokens"][0]["id"] = json!(7));
    assert_names(&refusal(moved), &[BOS, "id 7", "id 0"]);
    let gap = load_changed(|json| json["added_tokens"][6]["id"] = json!(400));
    assert_names(&refusal(gap), &["</think>", "id 400", "gap"]);
}

#[test]
fn other_kinds_of_tokenizer_are_named() {
    let unigram = load_changed(|json| {
        json["model"] = json!({ "type": "Unigram", "unk_id": 0, "vocab": [["a", -1.0]] });
    });
    assert_names(&refusal(unigram), &["model.type", "Unigram", "BPE"]);
    let decoder = load_changed(|json| json["decoder"] = json!({ "type": "Metaspace" }));
    assert_names(&refusal(decoder), &["decoder.type", "Metaspace", "ByteLevel"]);
    let dropout = load_changed(|json| json["model"]["dropout"] = json!(0.1));
    assert_names(&refusal(dropout), &["dropout", "0.1"]);
}

#[test]
fn a_role_outside_of_the_vocabulary_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(Path::new(TINY).join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), r#"{"eos_token": "</s>"}"#).unwrap();
    assert_names(&refusal(Tokenizer::from_dir(dir.path())), &["eos_token", "</s>"]);
}

#[test]
fn a_pattern_that_does_not_compile_is_an_error() {
    assert_names(&refusal(load_with_pattern("(unclosed")), &["tokenizer.json"]);
}

#[test]
fn a_pattern_that_backtracks_without_end_is_an_error() {
    let tokenizer = load_with_pattern(r"(?:a|a|aa)+(?!a)\Bz").unwrap();
    assert!(tokenizer.encode("the quick brown fox").is_ok());
    let error = tokenizer.encode(&"a".repeat(64)).unwrap_err();
    assert!(matches!(error, TextError::PreTokenizer { found_bytes: 64, .. }), "{error}");
}

#[test]
fn a_normalizer_that_multiplies_text_is_refused() {
    let replace = |n: usize| {
        json!({
            "type": "Replace", "pattern": { "String": "a" }, "content": "a".repeat(n)
        })
    };
    let sequence = |steps: Vec<Value>| json!({ "type": "Sequence", "normalizers": steps });
    let prepend = json!({ "type": "Prepend", "prepend": "a".repeat(64) });
    for bomb in
        [replace(65), prepend, sequence(vec![replace(10); 2]), sequence(vec![replace(1000); 20])]
    {
        let refused = load_changed(|json| json["normalizer"] = bomb);
        assert_names(&refusal(refused), &["normalizer", "want at most 64 times"]);
    }
    let nfc = json!({ "type": "NFC" });
    let known = sequence(vec![json!({ "type": "Prepend", "prepend": "▁" }), replace(3), nfc]);
    for normalizer in [known, sequence(vec![]), Value::Null] {
        load_changed(|json| json["normalizer"] = normalizer).unwrap();
    }
}

#[test]
fn a_byte_without_a_token_is_an_error() {
    let tokenizer = load_changed(|json| {
        json["model"]["vocab"].as_object_mut().unwrap().remove("~");
    });
    // The vocabulary now has a gap, and the added tokens no longer follow it.
    assert_names(&refusal(tokenizer), &["User", "gap"]);
    let tokenizer = load_changed(|json| {
        let vocab = json["model"]["vocab"].as_object_mut().unwrap();
        let id = vocab.remove("~").unwrap();
        vocab.insert("~~~~".into(), id);
    });
    let error = tokenizer.unwrap().encode("a ~ b").unwrap_err();
    assert!(matches!(error, TextError::Unencodable { .. }), "{error}");
}

#[test]
fn an_id_outside_of_the_vocabulary_is_an_error() {
    let tokenizer = tiny();
    for id in [343, u32::MAX] {
        let error = tokenizer.decode(&[100, id]).unwrap_err();
        assert_names(&error.to_string(), &[&id.to_string(), "342"]);
        let mut stream = tokenizer.stream();
        assert!(stream.push(id).is_err());
        assert_eq!(stream.push(100).unwrap(), "a");
    }
}

#[test]
fn a_stream_holds_bytes_until_they_are_a_character() {
    let tokenizer = tiny();
    let ids = tokenizer.encode("a🙂b").unwrap();
    let mut stream = tokenizer.stream();
    let pieces: Vec<String> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
    assert_eq!(pieces, ["a", "", "", "", "🙂", "b"]);
    assert_eq!(stream.finish(), "");
}

#[test]
fn a_stream_cut_inside_a_character_ends_with_a_replacement() {
    let tokenizer = tiny();
    let ids = tokenizer.encode("🙂").unwrap();
    let mut stream = tokenizer.stream();
    for &id in &ids[..3] {
        assert_eq!(stream.push(id).unwrap(), "");
    }
    assert_eq!(stream.finish(), "\u{fffd}");
    assert_eq!(stream.finish(), "");
}

fn config() -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig { failure_persistence: Some(Box::new(persistence)), ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn decoding_returns_the_text(text in "\\PC*|[\\s\\S]{0,40}|[a-z <>｜/]{0,60}") {
        let tokenizer = tiny();
        let ids = tokenizer.encode(&text).unwrap();
        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }

    #[test]
    fn plain_text_never_becomes_a_control_token(
        parts in prop::collection::vec(prop::sample::select(vec![
            BOS, "<｜User｜>", "<think>", "</think>", "<", "｜", ">", "User", " ", "\n", "a",
        ]), 0..12)
    ) {
        let ids = tiny().encode(&parts.concat()).unwrap();
        prop_assert!(ids.iter().all(|&id| id > 2 && id < 339), "{:?}", ids);
    }

    #[test]
    fn a_stream_gives_what_decoding_gives(ids in prop::collection::vec(0_u32..343, 0..40)) {
        let tokenizer = tiny();
        let mut stream = tokenizer.stream();
        let mut text = String::new();
        for &id in &ids {
            text += &stream.push(id).unwrap();
        }
        text += &stream.finish();
        prop_assert_eq!(text, tokenizer.decode(&ids).unwrap());
    }
}
