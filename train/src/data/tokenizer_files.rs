//! The files of a tokenizer: `tokenizer.json` and `tokenizer_config.json`, made and kept.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper, Trainer,
};

use crate::data::{DataError, Document, file};

/// The token that ends a document: DeepSeek's.
pub(crate) const END: &str = "<｜end▁of▁sentence｜>";

/// The number of bytes there are, each a token.
pub(crate) const BYTES: u32 = 256;

/// The pieces that merges stay inside of: GPT-2's, with at most three digits each as in DeepSeek-V3.
const PATTERN: &str =
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const NAMES: [&str; 2] = ["tokenizer.json", "tokenizer_config.json"];

/// The text of both files, the second where there is one.
#[derive(Debug, Clone)]
pub(crate) struct TokenizerFiles([Option<String>; 2]);

impl TokenizerFiles {
    /// Bytes as tokens: a vocabulary without merges, each byte's id its value.
    pub(crate) fn bytes() -> Self {
        let vocab = (0..=255).map(|b| (alphabet(b).to_string(), Value::from(b))).collect();
        Self::of(vocab, &[], &json!(byte_level()))
    }

    /// Byte pairs that are merged most often first, of `documents`, until there are `vocab_size`
    /// tokens with the end token, or no pair that occurs twice.
    pub(crate) fn train(documents: &[Document], vocab_size: usize) -> Result<Self, DataError> {
        let fail = |e: tokenizers::Error| DataError::Training { detail: e.to_string() };
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocab_size - 1)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let pre_tokenizer = json!({"type": "Sequence", "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": PATTERN},
                "behavior": "Isolated",
                "invert": false,
            },
            byte_level(),
        ]});
        let split: PreTokenizerWrapper =
            serde_json::from_value(pre_tokenizer.clone()).map_err(|e| fail(e.into()))?;
        let texts = documents.iter().map(|document| document.text.as_str());
        trainer.feed(texts, |text| pieces(&split, text)).map_err(fail)?;
        let mut model = BPE::default();
        trainer.train(&mut model).map_err(fail)?;
        let model = serde_json::to_value(&model).map_err(|e| fail(e.into()))?;
        let vocab = model["vocab"].as_object().cloned().unwrap_or_default();
        let merges = model["merges"].as_array().cloned().unwrap_or_default();
        Ok(Self::of(vocab, &merges, &pre_tokenizer))
    }

    /// The files of a folder that a tokenizer was read from.
    pub(crate) fn from_dir(dir: &Path) -> Result<Self, DataError> {
        let read = |name: &str| {
            let path = dir.join(name);
            if path.exists() { file::read(&path).map(Some) } else { Ok(None) }
        };
        Ok(Self([read(NAMES[0])?, read(NAMES[1])?]))
    }

    /// Writes the files; a file with another's name is replaced at once, never half of it.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), DataError> {
        fs::create_dir_all(dir).map_err(|source| DataError::Io { path: dir.into(), source })?;
        for (name, text) in NAMES.iter().zip(&self.0) {
            let Some(text) = text else { continue };
            let (path, unfinished) = (dir.join(name), dir.join(format!("{name}.part")));
            let written =
                fs::write(&unfinished, text).and_then(|()| fs::rename(&unfinished, &path));
            written.map_err(|source| DataError::Io { path, source })?;
        }
        Ok(())
    }

    fn of(vocab: Map<String, Value>, merges: &[Value], pre_tokenizer: &Value) -> Self {
        let end = json!({
            "id": vocab.len(), "content": END, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        });
        let tokenizer = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": [end],
            "normalizer": null,
            "pre_tokenizer": pre_tokenizer,
            "post_processor": null,
            "decoder": byte_level(),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": merges,
            },
        });
        let config = json!({"add_bos_token": false, "eos_token": END});
        Self([tokenizer, config].map(|file| Some(format!("{file:#}\n"))))
    }
}

/// The pieces of a text, in the alphabet of bytes.
fn pieces(split: &PreTokenizerWrapper, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut pieces = PreTokenizedString::from(text);
    split.pre_tokenize(&mut pieces)?;
    let pieces = pieces.get_splits(OffsetReferential::Original, OffsetType::None);
    Ok(pieces.into_iter().map(|(piece, _, _)| piece.to_owned()).collect())
}

fn byte_level() -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false,
    })
}

/// The character that stands for a byte in byte-level vocabularies.
///
/// # Source
/// The released code of GPT-2, `bytes_to_unicode`.
fn alphabet(byte: u8) -> char {
    let code = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
        0..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
    };
    char::from_u32(code).expect("all of these are characters")
}
