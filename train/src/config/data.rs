//! `[data]`: what a model is trained on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TrainConfigError;
use super::error::want;
use crate::data::{Packing, ReadOptions};

/// What a model is trained on, and in what portions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Files and folders of text.
    pub files: Vec<PathBuf>,
    /// The field with the text, in JSON lines.
    #[serde(default = "text_field")]
    pub text_field: String,
    /// The field with the kind of text, in JSON lines: see
    /// [`ReadOptions`](crate::data::ReadOptions::kind_field).
    #[serde(default)]
    pub kind_field: Option<String>,
    /// The line between two documents of a text file.
    #[serde(default)]
    pub separator: Option<String>,
    /// `bytes`, `bpe:N` to train one of `N` tokens on the text, or the folder of one.
    #[serde(default = "bytes")]
    pub tokenizer: String,
    /// The tokens of a sequence.
    #[serde(default = "seq_len")]
    pub seq_len: usize,
    /// The sequences of a step.
    #[serde(default = "batch_size")]
    pub batch_size: usize,
    /// The sequences that are computed at once, a divisor of `batch_size`; all where it is absent.
    /// Fewer need less memory. Sums over a step are then added in another order.
    #[serde(default)]
    pub micro_batch_size: Option<usize>,
    /// The share of the documents that a model never sees, and that validate it.
    #[serde(default = "validation_fraction")]
    pub validation_fraction: f64,
}

fn text_field() -> String {
    "text".into()
}

fn bytes() -> String {
    "bytes".into()
}

fn seq_len() -> usize {
    256
}

fn batch_size() -> usize {
    16
}

fn validation_fraction() -> f64 {
    0.05
}

/// Where tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerChoice {
    /// Bytes.
    Bytes,
    /// Pairs that are merged by training, until there are so many tokens.
    Bpe(usize),
    /// The tokenizer in a folder.
    Folder(PathBuf),
}

impl DataSection {
    /// Where tokens come from.
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] when `bpe:` is followed by no number, or by fewer tokens than
    /// there are bytes, or by more than 2^22.
    pub fn tokenizer_choice(&self) -> Result<TokenizerChoice, TrainConfigError> {
        let text = self.tokenizer.as_str();
        if text == "bytes" {
            return Ok(TokenizerChoice::Bytes);
        }
        let Some(size) = text.strip_prefix("bpe:") else {
            want(!text.is_empty(), "data.tokenizer", "nothing", "bytes, bpe:N or a folder")?;
            return Ok(TokenizerChoice::Folder(text.into()));
        };
        let size = size.parse().ok().filter(|n| (257..=1 << 22).contains(n));
        let wanted = "bpe:N with N from 257 (bytes and the end of a document) to 4194304";
        size.map(TokenizerChoice::Bpe)
            .ok_or_else(|| TrainConfigError::setting("data.tokenizer", text, wanted))
    }

    /// How files become documents.
    #[must_use]
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions {
            text_field: self.text_field.clone(),
            kind_field: self.kind_field.clone(),
            separator: self.separator.clone(),
        }
    }

    /// The sequences that are computed at once.
    #[must_use]
    pub fn micro_batch(&self) -> usize {
        self.micro_batch_size.unwrap_or(self.batch_size)
    }

    pub(super) fn validate(&self) -> Result<(), TrainConfigError> {
        want(!self.files.is_empty(), "data.files", "none", "at least one file or folder")?;
        self.tokenizer_choice()?;
        for (field, found) in [("data.seq_len", self.seq_len), ("data.batch_size", self.batch_size)]
        {
            want((1..1 << 24).contains(&found), field, found, "at least 1, below 2^24")?;
        }
        if Packing::new(self.seq_len, self.batch_size).is_err() {
            let found = format!("{} of {} tokens each", self.batch_size, self.seq_len);
            let wanted = "less than 2^31 tokens together";
            return Err(TrainConfigError::setting("data.batch_size", found, wanted));
        }
        if let Some(micro) = self.micro_batch_size {
            let wanted = format!("a divisor of batch_size {}", self.batch_size);
            let divides = self.batch_size.is_multiple_of(micro);
            want(divides, "data.micro_batch_size", micro, wanted)?;
        }
        let share = self.validation_fraction;
        let holds = (0.0..1.0).contains(&share);
        want(holds, "data.validation_fraction", share, "0 or more, below 1")
    }
}
