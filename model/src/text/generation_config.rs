//! `generation_config.json`: how the makers of a model meant it to be sampled.

use std::path::Path;

use serde::Deserialize;

use crate::sampling::{SamplingConfig, StopStrings};
use crate::text::{TextError, file};

const FILE: &str = "generation_config.json";

/// What `generation_config.json` says. Unknown keys are ignored. A key that is absent, as all are
/// where there is no file, has the value of [`GenerationConfig::default`].
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationConfig {
    /// The tokens that end an answer, as one id or a list of them; default none.
    pub eos_token_ids: Vec<u32>,
    /// The texts that an answer ends before, as one text or a list of them; default none.
    pub stop_strings: Vec<String>,
    /// Whether to draw at all, or to take the most probable token; default `false`.
    pub do_sample: bool,
    /// What logits are divided by; default 1.
    pub temperature: f64,
    /// How many of the largest logits to keep; default `None`, all. The file's 0 means all.
    pub top_k: Option<usize>,
    /// The mass of probability to keep; default 1, all.
    pub top_p: f64,
    /// The share of the largest probability below which tokens are dropped; default 0, none.
    pub min_p: f64,
    /// The penalty of tokens seen before; default 1, none.
    pub repetition_penalty: f64,
    /// The most tokens of an answer; default `None`, the caller's choice.
    pub max_new_tokens: Option<usize>,
}

#[derive(Default, Deserialize)]
struct Raw {
    eos_token_id: Option<Ids>,
    stop_strings: Option<Texts>,
    do_sample: Option<bool>,
    temperature: Option<f64>,
    top_k: Option<u64>,
    top_p: Option<f64>,
    min_p: Option<f64>,
    repetition_penalty: Option<f64>,
    max_new_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "want a token id or a list of them, each of 0..=4294967295")]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "want a text or a list of them")]
enum Texts {
    One(String),
    Many(Vec<String>),
}

impl Default for GenerationConfig {
    fn default() -> Self {
        Self {
            eos_token_ids: Vec::new(),
            stop_strings: Vec::new(),
            do_sample: false,
            temperature: 1.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_new_tokens: None,
        }
    }
}

impl GenerationConfig {
    /// Reads `generation_config.json` of `dir`.
    ///
    /// # Errors
    /// [`TextError::Json`] with the place in the file, [`TextError::Field`] for a value outside of
    /// its range.
    pub fn from_dir(dir: &Path) -> Result<Self, TextError> {
        let path = dir.join(FILE);
        let Some(text) = file::read(&path)? else { return Ok(Self::default()) };
        let raw: Raw = file::parse(&path, &text)?;
        let default = Self::default();
        let config = Self {
            eos_token_ids: match raw.eos_token_id {
                None => Vec::new(),
                Some(Ids::One(id)) => vec![id],
                Some(Ids::Many(ids)) => ids,
            },
            stop_strings: match raw.stop_strings {
                None => Vec::new(),
                Some(Texts::One(text)) => vec![text],
                Some(Texts::Many(texts)) => texts,
            },
            do_sample: raw.do_sample.unwrap_or(default.do_sample),
            temperature: raw.temperature.unwrap_or(default.temperature),
            top_k: count("top_k", raw.top_k)?.filter(|&k| k > 0),
            top_p: raw.top_p.unwrap_or(default.top_p),
            min_p: raw.min_p.unwrap_or(default.min_p),
            repetition_penalty: raw.repetition_penalty.unwrap_or(default.repetition_penalty),
            max_new_tokens: count("max_new_tokens", raw.max_new_tokens)?,
        };
        if config.max_new_tokens == Some(0) {
            return Err(TextError::field(FILE, "max_new_tokens", 0, "at least 1"));
        }
        let sampled = SamplingConfig { temperature: config.temperature, ..config.sampling(0) };
        let usable = sampled.validate().and(StopStrings::new(config.stop_strings.clone()));
        usable.map_err(|e| TextError::Setting { file: FILE.into(), source: e })?;
        Ok(config)
    }

    /// The settings of a sampler: greedy where the makers did not mean to draw.
    #[must_use]
    pub fn sampling(&self, seed: u64) -> SamplingConfig {
        SamplingConfig {
            temperature: if self.do_sample { self.temperature } else { 0.0 },
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed,
        }
    }
}

fn count(field: &str, found: Option<u64>) -> Result<Option<usize>, TextError> {
    let limit = u64::from(u32::MAX);
    match found {
        Some(n) if n > limit => Err(TextError::field(FILE, field, n, format!("at most {limit}"))),
        found => Ok(found.and_then(|n| usize::try_from(n).ok())),
    }
}
