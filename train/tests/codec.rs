//! Text to tokens and back, and the same through the files of a tokenizer.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use latent_train::data::{Corpus, Document, ReadOptions, TokenCodec};
use latent_train::model::text::Tokenizer;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const END: &str = "<｜end▁of▁sentence｜>";

fn default_text() -> Vec<Document> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("text/public-domain.jsonl");
    Corpus::read(&[path], &ReadOptions::default()).unwrap().documents().to_vec()
}

fn trained(documents: &[Document], vocab_size: usize) -> TokenCodec {
    let folder = tempfile::tempdir().unwrap();
    TokenCodec::train_bpe(documents, vocab_size, folder.path()).unwrap()
}

fn saved(codec: &TokenCodec) -> (Tokenizer, String) {
    let folder = tempfile::tempdir().unwrap();
    // A folder inside of one that is not there is made.
    let dir = folder.path().join("model/tokenizer");
    codec.save(&dir).unwrap();
    let names: Vec<_> = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    (Tokenizer::from_dir(&dir).unwrap(), fs::read_to_string(dir.join("tokenizer.json")).unwrap())
}

#[test]
fn a_token_of_bytes_is_a_byte() {
    let codec = TokenCodec::bytes();
    assert_eq!(codec.encode("").unwrap(), [0; 0]);
    assert_eq!(codec.encode("\0Aé").unwrap(), [0, 0x41, 0xc3, 0xa9]);
    assert_eq!(codec.decode(&[0xc3, 0x41, 256]).unwrap(), format!("\u{fffd}A{END}"));
    let found = codec.decode(&[257]).unwrap_err().to_string();
    assert_eq!(found, "token id 257: want an id of the vocabulary, at most 256");
}

#[test]
fn the_vocabulary_is_rounded_up() {
    let codec = TokenCodec::bytes();
    for (multiple, wanted) in [(0, 257), (1, 257), (64, 320), (257, 257), (256, 512)] {
        assert_eq!(codec.vocab_size(multiple), wanted);
    }
}

#[test]
fn saved_bytes_are_read_as_a_tokenizer_of_the_same_ids() {
    let (tokenizer, _) = saved(&TokenCodec::bytes());
    for byte in 0..=255 {
        assert_eq!(tokenizer.token_bytes(byte.into()).unwrap(), [byte]);
    }
    assert_eq!((tokenizer.eos_id(), tokenizer.max_id()), (Some(256), 256));
    assert_eq!((tokenizer.bos_id(), tokenizer.token_id(END)), (None, Some(256)));
}

#[test]
fn a_control_token_in_a_text_is_text() {
    let bpe = trained(&[Document::new("a", END.repeat(9))], 300);
    for codec in [TokenCodec::bytes(), bpe] {
        let ids = codec.encode(END).unwrap();
        assert!(!ids.contains(&codec.end_id()), "{ids:?}");
        assert_eq!(codec.decode(&ids).unwrap(), END);
    }
}

#[test]
fn training_merges_what_occurs_most() {
    let documents = [Document::new("a", "low low lower lowest slow")];
    let codec = trained(&documents, 260);
    // 256 bytes, three merges (`lo`, `low`, and one more), and the end.
    assert_eq!((codec.vocab_size(1), codec.end_id()), (260, 259));
    assert_eq!(codec.encode("low").unwrap().len(), 1);
    assert_eq!(codec.decode(&[259]).unwrap(), END);
}

#[test]
fn merges_stay_inside_of_words_and_of_three_digits() {
    let codec = trained(&[Document::new("a", "a cat 12345 a cat 12345 a cat 12345")], 1000);
    let pieces: Vec<String> = codec
        .encode("a cat 12345")
        .unwrap()
        .into_iter()
        .map(|id| codec.decode(&[id]).unwrap())
        .collect();
    assert_eq!(pieces, ["a", " cat", " 123", "45"]);
}

#[test]
fn training_ends_where_no_pair_occurs_twice() {
    let codec = trained(&[Document::new("a", "abcd")], 1000);
    assert_eq!((codec.vocab_size(1), codec.end_id()), (257, 256));
    let none = trained(&[], 1000);
    assert_eq!(none.vocab_size(1), 257);
}

#[test]
fn training_twice_gives_the_same_file() {
    let documents = default_text();
    let first = trained(&documents, 1024);
    assert_eq!(first.vocab_size(1), 1024);
    let (tokenizer, file) = saved(&first);
    assert_eq!(saved(&trained(&documents, 1024)).1, file);
    let (mut bytes, mut tokens) = (0, 0);
    for document in documents.iter().step_by(17) {
        let ids = first.encode(&document.text).unwrap();
        (bytes, tokens) = (bytes + document.text.len(), tokens + ids.len());
        assert_eq!(first.decode(&ids).unwrap(), document.text);
        assert_eq!(tokenizer.encode(&document.text).unwrap(), ids);
    }
    assert!(tokens * 2 < bytes, "{tokens} tokens of {bytes} bytes");
}

#[test]
fn a_codec_of_a_folder_saves_its_files_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let codec = TokenCodec::train_bpe(&[Document::new("a", "aa aa")], 300, folder.path()).unwrap();
    let path = folder.path().join("tokenizer.json");
    fs::write(&path, fs::read_to_string(&path).unwrap() + "\n\n").unwrap();
    let again = TokenCodec::from_dir(folder.path()).unwrap();
    assert_eq!(saved(&again).1, fs::read_to_string(&path).unwrap());
    assert_eq!(again.end_id(), codec.end_id());
}

#[test]
fn a_tokenizer_without_an_end_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    TokenCodec::bytes().save(folder.path()).unwrap();
    fs::write(folder.path().join("tokenizer_config.json"), "{}").unwrap();
    let found = TokenCodec::from_dir(folder.path()).unwrap_err().to_string();
    let wanted = "tokenizer_config.json: eos_token: found nothing, want a token to end documents \
                  with";
    assert_eq!(found, wanted);
    let empty = tempfile::tempdir().unwrap();
    let found = TokenCodec::from_dir(empty.path()).unwrap_err().to_string();
    assert!(found.ends_with("tokenizer.json: not found; wanted a tokenizer"), "{found}");
}

#[test]
fn a_vocabulary_without_room_for_bytes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for size in [0, 256, (1 << 22) + 1] {
        let found = TokenCodec::train_bpe(&[], size, folder.path()).unwrap_err().to_string();
        let wanted = "want 257 (bytes and the end of a document) to 4194304";
        assert_eq!(found, format!("vocab_size: found {size}, {wanted}"));
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let found = TokenCodec::bytes().save(&file).unwrap_err().to_string();
    assert!(found.starts_with(file.to_str().unwrap()), "{found}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn bytes_give_any_text_back(text in any::<String>()) {
        let codec = TokenCodec::bytes();
        prop_assert_eq!(codec.decode(&codec.encode(&text).unwrap()).unwrap(), text);
    }

    #[test]
    fn saved_tokenizers_agree_on_any_text(text in "(?s).{0,60}") {
        thread_local! {
            static CODECS: [(TokenCodec, Tokenizer); 2] = {
                let documents = [Document::new("a", "the cat, the hat: 12345  12345 naïve naïve")];
                [TokenCodec::bytes(), trained(&documents, 290)].map(|codec| {
                    let tokenizer = saved(&codec).0;
                    (codec, tokenizer)
                })
            };
        }
        CODECS.with(|codecs| {
            for (codec, tokenizer) in codecs {
                let ids = codec.encode(&text).unwrap();
                prop_assert_eq!(codec.decode(&ids).unwrap(), text.as_str());
                prop_assert_eq!(tokenizer.encode(&text).unwrap(), ids);
            }
            Ok(())
        })?;
    }
}
