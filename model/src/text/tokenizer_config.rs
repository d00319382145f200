//! `tokenizer_config.json`: control tokens by role, and the chat template.

use std::path::Path;

use serde::Deserialize;

use crate::text::{TextError, file};

/// The file's name.
pub(crate) const FILE: &str = "tokenizer_config.json";

/// What `tokenizer_config.json` says; unknown keys are ignored, an absent file says nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenizerConfig {
    /// The token that opens a text.
    pub bos_token: Option<String>,
    /// The token that ends an answer.
    pub eos_token: Option<String>,
    /// The token that fills a batch.
    pub pad_token: Option<String>,
    /// Whether plain text is meant to be opened by `bos_token`.
    pub add_bos_token: bool,
    /// The chat templates by name; a single one is called `default`.
    pub chat_templates: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Raw {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    pad_token: Option<Token>,
    add_bos_token: Option<bool>,
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "want a token as a string or as an object with `content`")]
enum Token {
    Text(String),
    Object { content: String },
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "want a template as a string or a list of named ones")]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl Token {
    fn text(self) -> String {
        match self {
            Self::Text(content) | Self::Object { content } => content,
        }
    }
}

impl TokenizerConfig {
    /// Reads `tokenizer_config.json` of `dir`.
    ///
    /// # Errors
    /// [`TextError::Io`] and [`TextError::Json`], which name the file.
    pub fn from_dir(dir: &Path) -> Result<Self, TextError> {
        let path = dir.join(FILE);
        let Some(text) = file::read(&path)? else { return Ok(Self::default()) };
        let raw: Raw = file::parse(&path, &text)?;
        let chat_templates = match raw.chat_template {
            None => Vec::new(),
            Some(Templates::One(template)) => vec![("default".into(), template)],
            Some(Templates::Named(all)) => all.into_iter().map(|t| (t.name, t.template)).collect(),
        };
        Ok(Self {
            bos_token: raw.bos_token.map(Token::text),
            eos_token: raw.eos_token.map(Token::text),
            pad_token: raw.pad_token.map(Token::text),
            add_bos_token: raw.add_bos_token.unwrap_or(false),
            chat_templates,
        })
    }
}
