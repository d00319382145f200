//! Text to token ids and back.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use tokenizers::{Model, NormalizedString, Normalizer, PreTokenizedString, Token};

use crate::text::pre_tokenizer::PreTokenizer;
use crate::text::tokenizer_file::{FILE, TokenizerFile};
use crate::text::{DecodeStream, TextError, TokenizerConfig, byte_level, file};

/// A byte-level BPE tokenizer, from a model's folder.
///
/// ```no_run
/// use latent_model::text::Tokenizer;
/// let tokenizer = Tokenizer::from_dir("DeepSeek-V3".as_ref())?;
/// let ids = tokenizer.encode("Hello!")?;
/// assert_eq!(tokenizer.decode(&ids)?, "Hello!");
/// # Ok::<(), latent_model::text::TextError>(())
/// ```
pub struct Tokenizer {
    library: tokenizers::Tokenizer,
    pre_tokenizer: PreTokenizer,
    config: TokenizerConfig,
    added: Vec<String>,
    added_starts: HashSet<char>,
    max_id: u32,
    bos: Option<u32>,
    eos: Option<u32>,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` where there is one.
    ///
    /// # Errors
    /// [`TextError`] that names the file, and the token or the merge in it: an unknown kind of
    /// model, ids that are huge, missing or given twice, merges of unknown tokens, a pattern that
    /// does not compile.
    pub fn from_dir(dir: &Path) -> Result<Self, TextError> {
        let path = dir.join(FILE);
        let text = file::read(&path)?.ok_or_else(|| TextError::Missing {
            path: path.clone(),
            wanted: "a tokenizer".into(),
        })?;
        let file: TokenizerFile = file::parse(&path, &text)?;
        file.check()?;
        let refuse = |e: String| TextError::Tokenizer { file: FILE.into(), detail: e };
        let library = tokenizers::Tokenizer::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        for (token, id) in file.added_tokens() {
            let found = library.token_to_id(token);
            if found.map(u64::from) != Some(id) {
                let (field, found) = (format!("added token {token:?}"), format!("id {id}"));
                let wanted = "added tokens that follow the vocabulary without a gap";
                return Err(TextError::field(FILE, field, found, wanted));
            }
        }
        let pre_tokenizer =
            PreTokenizer::new(library.get_pre_tokenizer()).map_err(|e| refuse(e.to_string()))?;
        let config = TokenizerConfig::from_dir(dir)?;
        let bos = role(&library, "bos_token", config.bos_token.as_deref())?;
        let eos = role(&library, "eos_token", config.eos_token.as_deref())?;
        let added = file.added_tokens().map(|(token, _)| token.to_owned()).collect();
        let added_starts = file.added_tokens().filter_map(|(t, _)| t.chars().next()).collect();
        let max_id = library.get_vocab(true).into_values().max().unwrap_or(0);
        Ok(Self { library, pre_tokenizer, config, added, added_starts, max_id, bos, eos })
    }

    /// The ids of plain text. What looks like a control token is text like any other, and no
    /// control token is added.
    ///
    /// # Errors
    /// [`TextError::PreTokenizer`] when a pattern backtracks over its limit,
    /// [`TextError::Unencodable`] when the vocabulary lacks a byte of the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let mut pieces = PreTokenizedString::from(text);
        if let Some(normalizer) = self.library.get_normalizer() {
            pieces.normalize(|piece| normalizer.normalize(piece)).map_err(|e| failed(text, e))?;
        }
        self.merge(text, pieces)
    }

    /// The ids of text whose control tokens are meant as such: a template's, never a user's.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_with_special(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.merge(text, self.extract(text))
    }

    /// As [`Self::encode_with_special`], except that no control token reaches over a `sentinel`,
    /// and that sentinels are removed before the text is split and merged.
    pub(crate) fn encode_guarded(&self, text: &str, sentinel: char) -> Result<Vec<u32>, TextError> {
        let mut pieces = self.extract(text);
        pieces.normalize(|piece| piece.replace(sentinel, "")).map_err(|e| failed(text, e))?;
        self.merge(text, pieces)
    }

    /// The control tokens found in `text`, in order.
    pub(crate) fn control_ids(&self, text: &str) -> Vec<u32> {
        tokens(&self.extract(text)).map(|t| t.id).collect()
    }

    /// The texts of all control tokens.
    pub(crate) fn control_tokens(&self) -> &[String] {
        &self.added
    }

    /// Whether `text` begins with a control token.
    pub(crate) fn control_token_at(&self, text: &str) -> bool {
        text.starts_with(|c| self.added_starts.contains(&c))
            && self.added.iter().any(|token| text.starts_with(token.as_str()))
    }

    /// Whether the normalizer leaves `c` as it is.
    pub(crate) fn keeps(&self, c: char) -> bool {
        let mut text = NormalizedString::from(c.to_string());
        let normalizer = self.library.get_normalizer();
        normalizer.is_none_or(|n| n.normalize(&mut text).is_ok() && text.get() == c.to_string())
    }

    /// The text of `ids`. Bytes that make no character are given as U+FFFD; control tokens are
    /// given as their text.
    ///
    /// # Errors
    /// [`TextError::Id`] for an id that names no token.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TextError> {
        let mut bytes = Vec::new();
        for &id in ids {
            bytes.extend(self.token_bytes(id)?);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Decoding token by token.
    #[must_use]
    pub fn stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self)
    }

    /// The bytes that a token stands for.
    ///
    /// # Errors
    /// [`TextError::Id`] for an id that names no token.
    pub fn token_bytes(&self, id: u32) -> Result<Vec<u8>, TextError> {
        let added = self.library.get_added_vocabulary().get_added_tokens_decoder().get(&id);
        if let Some(token) = added {
            return Ok(token.content.clone().into_bytes());
        }
        let token = self.library.get_model().id_to_token(id);
        token
            .map(|token| byte_level::bytes(&token))
            .ok_or(TextError::Id { found: id, max: self.max_id })
    }

    /// The id of a token by its text.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.library.token_to_id(token)
    }

    /// The largest id; a model's vocabulary is larger than it.
    #[must_use]
    pub fn max_id(&self) -> u32 {
        self.max_id
    }

    /// The id of the token that opens a text.
    #[must_use]
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The id of the token that ends an answer.
    #[must_use]
    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    /// What `tokenizer_config.json` says.
    #[must_use]
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    fn extract(&self, text: &str) -> PreTokenizedString {
        let normalizer = self.library.get_normalizer();
        self.library.get_added_vocabulary().extract_and_normalize(normalizer, text)
    }

    fn merge(&self, text: &str, mut pieces: PreTokenizedString) -> Result<Vec<u32>, TextError> {
        self.pre_tokenizer.split(&mut pieces).map_err(|e| failed(text, e))?;
        let model = self.library.get_model();
        let merged = pieces.tokenize(|piece| {
            let tokens = model.tokenize(piece.get())?;
            if covers(&tokens, piece.get()) {
                return Ok(tokens);
            }
            Err(TextError::Unencodable { found: piece.get().into() }.into())
        });
        merged.map_err(|e| failed(text, e))?;
        Ok(tokens(&pieces).map(|t| t.id).collect())
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("max_id", &self.max_id).finish_non_exhaustive()
    }
}

/// The id of a control token that `tokenizer_config.json` names.
fn role(
    library: &tokenizers::Tokenizer,
    field: &str,
    token: Option<&str>,
) -> Result<Option<u32>, TextError> {
    let Some(token) = token else { return Ok(None) };
    let unknown = || {
        let found = format!("unknown token {token:?}");
        TextError::field(crate::text::tokenizer_config::FILE, field, found, "one of tokenizer.json")
    };
    library.token_to_id(token).map(Some).ok_or_else(unknown)
}

/// The tokens of the pieces that have them.
fn tokens(pieces: &PreTokenizedString) -> impl Iterator<Item = Token> {
    let splits =
        pieces.get_splits(tokenizers::OffsetReferential::Original, tokenizers::OffsetType::None);
    let tokens: Vec<Token> = splits
        .into_iter()
        .filter_map(|(_, _, tokens)| tokens.as_ref())
        .flatten()
        .cloned()
        .collect();
    tokens.into_iter()
}

/// Whether the tokens' texts together are the piece: the library drops what it has no token for.
fn covers(tokens: &[Token], piece: &str) -> bool {
    let rest = tokens.iter().try_fold(piece, |rest, t| rest.strip_prefix(t.value.as_str()));
    rest == Some("")
}

fn failed(text: &str, e: tokenizers::Error) -> TextError {
    match e.downcast::<TextError>() {
        Ok(e) => *e,
        Err(e) => TextError::PreTokenizer { found_bytes: text.len(), detail: e.to_string() },
    }
}
