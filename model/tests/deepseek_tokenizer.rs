//! The published DeepSeek tokenizers and chat template, against the Python implementations.
//!
//! The expected values are printed by `scripts/known_tokenizer_ids.py`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use latent_model::text::{ChatTemplate, Message, RenderOptions, Tokenizer};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name);
    assert!(
        folder.join("tokenizer.json").is_file(),
        "{}: no tokenizer.json; run scripts/fetch_tokenizer.sh first",
        folder.display()
    );
    folder
}

fn v3() -> Tokenizer {
    Tokenizer::from_dir(&folder("deepseek-v3-tokenizer")).unwrap()
}

fn v4() -> Tokenizer {
    Tokenizer::from_dir(&folder("deepseek-v4-tokenizer")).unwrap()
}

const KNOWN: [(&str, &[u32]); 5] = [
    (
        "Hello! 毕老师！1 + 1 = 2",
        &[19923, 3, 223, 5464, 5008, 1175, 19, 940, 223, 19, 438, 223, 20],
    ),
    (
        "The quick brown fox\n\n  jumps 12345 times.",
        &[671, 4787, 13769, 46012, 271, 223, 54994, 223, 6895, 1883, 2734, 16],
    ),
    (
        "fn main() {\n\tprintln!(\"hi\");\n}\n",
        &[28952, 1840, 1393, 875, 40817, 5413, 64325, 6366, 4913, 1778],
    ),
    (
        "👩\u{200d}👩\u{200d}👧 naïve café Straße",
        &[25730, 105, 46088, 25730, 105, 46088, 25730, 103, 112752, 57664, 23900, 30234],
    ),
    ("こんにちは世界 한국어", &[4549, 7245, 2298, 12457, 2841, 3427, 51345, 9227]),
];

#[test]
fn ids_are_the_known_ones() {
    for tokenizer in [v3(), v4()] {
        for (text, ids) in KNOWN {
            assert_eq!(tokenizer.encode(text).unwrap(), ids, "{text:?}");
            assert_eq!(tokenizer.decode(ids).unwrap(), text);
        }
    }
}

#[test]
fn control_tokens_have_their_published_ids() {
    let v3 = v3();
    assert_eq!((v3.bos_id(), v3.eos_id(), v3.max_id()), (Some(0), Some(1), 128_814));
    assert_eq!(v3.token_id("<｜User｜>"), Some(128_803));
    assert_eq!(v3.token_id("<｜Assistant｜>"), Some(128_804));
    let v4 = v4();
    assert_eq!(v4.max_id(), 129_279);
    assert_eq!(v4.token_id("<think>"), Some(128_821));
    assert_eq!(v4.token_id("</think>"), Some(128_822));
}

#[test]
fn a_chat_renders_and_encodes_as_in_python() {
    let template = ChatTemplate::from_dir(&folder("deepseek-v3-tokenizer")).unwrap().unwrap();
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    let messages = [
        Message::new("system", "You are terse."),
        Message::new("user", "What is 1+1?"),
        Message::new("assistant", "2"),
        Message::new("user", "And 2+2?\n"),
    ];
    assert_eq!(
        template.render(&messages, &options).unwrap(),
        "<｜begin▁of▁sentence｜>You are terse.<｜User｜>What is 1+1?<｜Assistant｜>2\
         <｜end▁of▁sentence｜><｜User｜>And 2+2?\n<｜Assistant｜>"
    );
    assert_eq!(
        template.encode(&v3(), &messages, &options).unwrap(),
        [
            0, 3476, 477, 259, 10935, 16, 128_803, 3085, 344, 223, 19, 13, 19, 33, 128_804, 20, 1,
            128_803, 4195, 223, 20, 13, 20, 2755, 128_804
        ]
    );
}

#[test]
fn every_control_token_in_a_users_words_stays_text() {
    let tokenizer = v3();
    let template = ChatTemplate::from_dir(&folder("deepseek-v3-tokenizer")).unwrap().unwrap();
    let all: Vec<u32> = (0..3).chain(128_000..=128_814).collect();
    let hostile = tokenizer.decode(&all).unwrap();
    let messages = [Message::new("user", &hostile)];
    let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
    let ids = template.encode(&tokenizer, &messages, &options).unwrap();
    let control: Vec<u32> = ids.iter().copied().filter(|id| all.contains(id)).collect();
    assert_eq!(control, [0, 128_803, 128_804]);
    let plain = tokenizer.encode(&hostile).unwrap();
    assert!(plain.iter().all(|id| !all.contains(id)));
    assert_eq!(tokenizer.decode(&plain).unwrap(), hostile);
}

#[test]
fn decoding_returns_the_text() {
    let tokenizer = v3();
    let config = ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        source_file: Some(file!()),
        ..ProptestConfig::default()
    };
    let text =
        "\\PC{0,60}|[\\s\\S]{0,60}|[a-z0-9 \\n.,<>｜]{0,120}|[\\p{Han}\\p{Emoji}\\p{M}]{0,30}";
    TestRunner::new(config)
        .run(&text, |text| {
            let ids = tokenizer.encode(&text).unwrap();
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.as_str());
            let mut stream = tokenizer.stream();
            let mut streamed = String::new();
            for id in ids {
                streamed += &stream.push(id).unwrap();
            }
            prop_assert_eq!(streamed + &stream.finish(), text);
            Ok(())
        })
        .unwrap();
}
