//! What `tokenizer.json` must hold before the tokenizer library gets to see it.
//!
//! The library takes a later duplicate for an earlier one, gives an added token the next free id
//! whatever id the file says, and names no token in its errors.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::text::TextError;

/// The file's name.
pub(crate) const FILE: &str = "tokenizer.json";

/// Ids are below this: real vocabularies end at 300 thousand.
const ID_LIMIT: u64 = 1 << 22;

/// The most that normalizers may lengthen a text: real ones replace a space by three bytes.
const GROWTH_LIMIT: usize = 64;

#[derive(Deserialize)]
pub(crate) struct TokenizerFile {
    #[serde(default)]
    added_tokens: Option<Vec<Added>>,
    model: Model,
    normalizer: Option<Value>,
    decoder: Option<Typed>,
}

#[derive(Deserialize)]
struct Typed {
    r#type: String,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    vocab: Vocab,
    merges: Option<Vec<Merge>>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    dropout: Option<f64>,
    byte_fallback: Option<bool>,
    ignore_merges: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "want a merge as a pair of tokens or as `left right`")]
enum Merge {
    Pair(String, String),
    Text(String),
}

impl Merge {
    /// Both tokens, `None` where the text is not two of them.
    fn pair(&self) -> Option<(&str, &str)> {
        match self {
            Self::Pair(left, right) => Some((left, right)),
            Self::Text(text) => text.split_once(' ').filter(|(_, right)| !right.contains(' ')),
        }
    }
}

/// The entries as they stand, duplicates included. Other models keep something else here, which is
/// passed over so that the error can name the model.
struct Vocab(Vec<(String, u64)>);

impl TokenizerFile {
    /// Proves that ids are small and unique, that merges join known tokens into known tokens, that
    /// normalizers make no text much longer, and that the kind is one we run.
    pub(crate) fn check(&self) -> Result<(), TextError> {
        self.check_kind()?;
        self.check_growth()?;
        let ids = self.check_ids()?;
        self.check_merges(&ids)?;
        self.check_control()
    }

    /// The added tokens with their ids.
    pub(crate) fn added_tokens(&self) -> impl Iterator<Item = (&str, u64)> {
        self.added_tokens.iter().flatten().map(|t| (t.content.as_str(), t.id))
    }

    fn check_kind(&self) -> Result<(), TextError> {
        let model = &self.model;
        let kind = model.r#type.as_deref().unwrap_or("BPE");
        if kind != "BPE" {
            return Err(TextError::field(FILE, "model.type", format!("{kind:?}"), "\"BPE\""));
        }
        let decoder = self.decoder.as_ref().map_or("none", |d| d.r#type.as_str());
        if decoder != "ByteLevel" {
            let found = format!("{decoder:?}");
            return Err(TextError::field(FILE, "decoder.type", found, "\"ByteLevel\""));
        }
        let affixes = [
            ("model.continuing_subword_prefix", &model.continuing_subword_prefix),
            ("model.end_of_word_suffix", &model.end_of_word_suffix),
        ];
        for (field, affix) in affixes {
            if let Some(found) = affix.as_ref().filter(|a| !a.is_empty()) {
                return Err(TextError::field(FILE, field, format!("{found:?}"), "null"));
            }
        }
        if model.byte_fallback == Some(true) {
            return Err(TextError::field(FILE, "model.byte_fallback", true, "false"));
        }
        match model.dropout {
            Some(found) if found != 0.0 => {
                Err(TextError::field(FILE, "model.dropout", found, "null or 0"))
            }
            _ => Ok(()),
        }
    }

    fn check_growth(&self) -> Result<(), TextError> {
        let grown = self.normalizer.as_ref().map_or(1, growth);
        if grown <= GROWTH_LIMIT {
            return Ok(());
        }
        let found = format!("text that becomes up to {grown} times as long");
        Err(TextError::field(FILE, "normalizer", found, format!("at most {GROWTH_LIMIT} times")))
    }

    fn check_ids(&self) -> Result<HashMap<&str, u64>, TextError> {
        let mut ids = HashMap::new();
        let mut tokens = HashMap::new();
        for (token, id) in &self.model.vocab.0 {
            let field = format!("token {token:?}");
            if *id >= ID_LIMIT {
                return Err(TextError::field(FILE, field, id, format!("an id below {ID_LIMIT}")));
            }
            if ids.insert(token.as_str(), *id).is_some() {
                return Err(TextError::field(FILE, field, "it twice", "each token once"));
            }
            if let Some(other) = tokens.insert(*id, token.as_str()) {
                let wanted = format!("an id of its own; {other:?} has it");
                return Err(TextError::field(FILE, field, format!("id {id}"), wanted));
            }
        }
        let mut added = HashSet::new();
        for (token, id) in self.added_tokens() {
            let field = format!("added token {token:?}");
            if token.is_empty() {
                return Err(TextError::field(FILE, field, "no text", "at least one character"));
            }
            if id >= ID_LIMIT {
                return Err(TextError::field(FILE, field, id, format!("an id below {ID_LIMIT}")));
            }
            if !added.insert(token) {
                return Err(TextError::field(FILE, field, "it twice", "each token once"));
            }
            match (ids.get(token), tokens.get(&id)) {
                (Some(&known), _) if known != id => {
                    let wanted = format!("id {known} as in the vocabulary");
                    return Err(TextError::field(FILE, field, format!("id {id}"), wanted));
                }
                (None, Some(other)) => {
                    let wanted = format!("an id of its own; {other:?} has it");
                    return Err(TextError::field(FILE, field, format!("id {id}"), wanted));
                }
                (None, None) => {
                    ids.insert(token, id);
                    tokens.insert(id, token);
                }
                (Some(_), _) => {}
            }
        }
        Ok(ids)
    }

    /// Proves that no merge makes a control token: plain text must never become one.
    fn check_control(&self) -> Result<(), TextError> {
        let special: HashSet<&str> =
            self.added_tokens.iter().flatten().filter(|t| t.special).map(|t| &*t.content).collect();
        let whole = self.model.ignore_merges == Some(true);
        let whole = self.model.vocab.0.iter().filter(|_| whole).map(|(token, _)| token.clone());
        let merged = self.model.merges.iter().flatten().filter_map(Merge::pair);
        let mut made = whole.chain(merged.map(|(left, right)| format!("{left}{right}")));
        match made.find(|token| special.contains(token.as_str())) {
            None => Ok(()),
            Some(token) => {
                let (field, found) =
                    (format!("special token {token:?}"), "it made from plain text");
                Err(TextError::field(FILE, field, found, "control tokens that no merge makes"))
            }
        }
    }

    fn check_merges(&self, ids: &HashMap<&str, u64>) -> Result<(), TextError> {
        for (rank, merge) in self.model.merges.iter().flatten().enumerate() {
            let Some((left, right)) = merge.pair() else {
                let found = "no single space";
                return Err(TextError::field(
                    FILE,
                    format!("merges[{rank}]"),
                    found,
                    "`left right`",
                ));
            };
            for token in [left, right, &format!("{left}{right}")] {
                if !ids.contains_key(token) {
                    let field = format!("merges[{rank}] {left:?} {right:?}");
                    let found = format!("unknown token {token:?}");
                    return Err(TextError::field(FILE, field, found, "tokens of the vocabulary"));
                }
            }
        }
        Ok(())
    }
}

/// How many times as long a text of one byte may become.
fn growth(normalizer: &Value) -> usize {
    let text = |key: &str| normalizer[key].as_str().map_or(0, str::len);
    match normalizer["type"].as_str() {
        Some("Sequence") => {
            let steps = normalizer["normalizers"].as_array().into_iter().flatten();
            steps.map(growth).fold(1, usize::saturating_mul)
        }
        Some("Replace") => text("content").max(1),
        Some("Prepend") => text("prepend").saturating_add(1),
        _ => 1,
    }
}

impl<'de> Deserialize<'de> for Vocab {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(VocabVisitor)
    }
}

struct VocabVisitor;

impl<'de> Visitor<'de> for VocabVisitor {
    type Value = Vocab;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tokens and ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocab, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Vocab(entries))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vocab, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Vocab(Vec::new()))
    }
}
