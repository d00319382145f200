//! Text to tokens and back, for training.

use std::path::Path;

use latent_model::text::{TextError, Tokenizer};

use crate::data::tokenizer_files::{BYTES, END, TokenizerFiles};
use crate::data::{DataError, Document};

/// A tokenizer with a token that ends documents.
///
/// Its files can be saved beside a model, whoever made them: [`Tokenizer::from_dir`] then gives the
/// same ids.
///
/// ```
/// use latent_train::data::TokenCodec;
/// let codec = TokenCodec::bytes();
/// assert_eq!(codec.encode("né")?, [b'n'.into(), 0xc3, 0xa9]);
/// assert_eq!(codec.decode(&[0x6e, 0xc3, 0xa9])?, "né");
/// assert_eq!((codec.end_id(), codec.vocab_size(64)), (256, 320));
/// # Ok::<(), latent_train::data::DataError>(())
/// ```
#[derive(Debug)]
pub struct TokenCodec {
    kind: Kind,
    end: u32,
    files: TokenizerFiles,
}

#[derive(Debug)]
enum Kind {
    Bytes,
    Bpe(Box<Tokenizer>),
}

impl TokenCodec {
    /// Each byte is a token, with its value as id; 256 ends a document.
    #[must_use]
    pub fn bytes() -> Self {
        Self { kind: Kind::Bytes, end: BYTES, files: TokenizerFiles::bytes() }
    }

    /// The tokenizer of a model's folder: `tokenizer.json`, and `tokenizer_config.json`, whose
    /// `eos_token` ends documents.
    ///
    /// # Errors
    /// [`DataError::Text`] as of [`Tokenizer::from_dir`], or when there is no `eos_token`.
    pub fn from_dir(dir: &Path) -> Result<Self, DataError> {
        let tokenizer = Tokenizer::from_dir(dir)?;
        let end = tokenizer.eos_id().ok_or_else(|| TextError::Field {
            file: "tokenizer_config.json".into(),
            field: "eos_token".into(),
            found: "nothing".into(),
            wanted: "a token to end documents with".into(),
        })?;
        let files = TokenizerFiles::from_dir(dir)?;
        Ok(Self { kind: Kind::Bpe(Box::new(tokenizer)), end, files })
    }

    /// Byte-level BPE trained on `documents`, written to `dir` and read from there. The same
    /// documents give the same files.
    ///
    /// `vocab_size` counts the 256 bytes and the end token, which has the last id. There are fewer
    /// tokens where no further pair occurs twice. Training on what validates makes validation look
    /// better than it is: give the documents that the model is trained on.
    ///
    /// ```
    /// use latent_train::data::{Document, TokenCodec};
    /// let folder = tempfile::tempdir()?;
    /// let documents = [Document::new("song", "la la la la")];
    /// let codec = TokenCodec::train_bpe(&documents, 300, folder.path())?;
    /// assert_eq!(codec.encode("la la")?.len(), 2); // `la`, ` la`
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::Setting`] for a `vocab_size` below 257 or above 2^22, [`DataError::Training`]
    /// when the library fails, [`DataError::Io`] when `dir` cannot be written.
    pub fn train_bpe(
        documents: &[Document],
        vocab_size: usize,
        dir: &Path,
    ) -> Result<Self, DataError> {
        let least = BYTES as usize + 1;
        if !(least..=1 << 22).contains(&vocab_size) {
            let wanted = format!("{least} (bytes and the end of a document) to {}", 1 << 22);
            return Err(DataError::setting("vocab_size", vocab_size, wanted));
        }
        TokenizerFiles::train(documents, vocab_size)?.save(dir)?;
        Self::from_dir(dir)
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` to `dir`, which is made where it is
    /// absent. A codec [from a folder](Self::from_dir) writes its files as they were.
    ///
    /// # Errors
    /// [`DataError::Io`] with the file.
    pub fn save(&self, dir: &Path) -> Result<(), DataError> {
        self.files.save(dir)
    }

    /// The tokens of a text, without an end. What looks like a control token is text.
    ///
    /// # Errors
    /// [`DataError::Text`] as of [`Tokenizer::encode`]; never for bytes.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, DataError> {
        match &self.kind {
            Kind::Bytes => Ok(text.bytes().map(u32::from).collect()),
            Kind::Bpe(tokenizer) => Ok(tokenizer.encode(text)?),
        }
    }

    /// The text of tokens, as of [`Tokenizer::decode`]: what is no character becomes U+FFFD, an end
    /// its own name.
    ///
    /// # Errors
    /// [`DataError::Text`] for an id that names no token.
    pub fn decode(&self, ids: &[u32]) -> Result<String, DataError> {
        let Kind::Bpe(tokenizer) = &self.kind else { return decode_bytes(ids) };
        Ok(tokenizer.decode(ids)?)
    }

    /// The text of tokens that a model drew: as of [`decode`](Self::decode), and an id that names no token,
    /// as the last of a vocabulary that was rounded up do, is U+FFFD.
    ///
    /// ```
    /// use latent_train::data::TokenCodec;
    /// let codec = TokenCodec::bytes();
    /// assert_eq!(codec.decode_any(&[0xc3, 0xa9, 300, 301, 0x6e]), "é\u{fffd}\u{fffd}n");
    /// ```
    #[must_use]
    pub fn decode_any(&self, ids: &[u32]) -> String {
        let known = |id: u32| self.text_bytes(id).is_ok();
        let runs = ids.chunk_by(|&a, &b| known(a) && known(b));
        runs.map(|run| self.decode(run).unwrap_or_else(|_| char::REPLACEMENT_CHARACTER.into()))
            .collect()
    }

    /// How many bytes of text a token stands for: those of a document's tokens together are its text's,
    /// as long as the tokenizer's normalizer changes none. The end of a document stands for none.
    ///
    /// ```
    /// use latent_train::data::TokenCodec;
    /// let codec = TokenCodec::bytes();
    /// assert_eq!((codec.text_bytes(0xc3)?, codec.text_bytes(codec.end_id())?), (1, 0));
    /// # Ok::<(), latent_train::data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::Text`] for an id that names no token.
    pub fn text_bytes(&self, id: u32) -> Result<usize, DataError> {
        match &self.kind {
            _ if id == self.end => Ok(0),
            Kind::Bytes if id < BYTES => Ok(1),
            Kind::Bytes => Err(TextError::Id { found: id, max: BYTES }.into()),
            Kind::Bpe(tokenizer) => Ok(tokenizer.token_bytes(id)?.len()),
        }
    }

    /// The token that ends a document.
    #[must_use]
    pub fn end_id(&self) -> u32 {
        self.end
    }

    /// The `vocab_size` of a model: the number of ids, rounded up to a `multiple`. 0 and 1 round
    /// nothing.
    #[must_use]
    pub fn vocab_size(&self, multiple: usize) -> usize {
        (self.max_id() as usize + 1).next_multiple_of(multiple.max(1))
    }

    /// The largest id of a token.
    #[must_use]
    pub fn max_id(&self) -> u32 {
        match &self.kind {
            Kind::Bytes => BYTES,
            Kind::Bpe(tokenizer) => tokenizer.max_id(),
        }
    }
}

fn decode_bytes(ids: &[u32]) -> Result<String, DataError> {
    let mut bytes = Vec::new();
    for &id in ids {
        match u8::try_from(id) {
            Ok(byte) => bytes.push(byte),
            Err(_) if id == BYTES => bytes.extend(END.as_bytes()),
            Err(_) => return Err(TextError::Id { found: id, max: BYTES }.into()),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
