//! Documents as tokens.

use std::sync::Arc;

use crate::data::{DataError, Document, TokenCodec};

/// The tokens of documents, each with its end token, in order.
///
/// ```
/// use latent_train::data::{Document, TokenCodec, TokenizedCorpus};
/// let documents = [Document::new("greeting", "Hi")];
/// let tokens = TokenizedCorpus::encode(&TokenCodec::bytes(), &documents)?;
/// assert_eq!(tokens.document(0), [72, 105, 256]);
/// # Ok::<(), latent_train::data::DataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizedCorpus {
    documents: Vec<(Arc<str>, Vec<u32>)>,
    tokens: usize,
}

impl TokenizedCorpus {
    /// Encodes documents; none give an empty corpus.
    ///
    /// # Errors
    /// Those of [`TokenCodec::encode`].
    pub fn encode(codec: &TokenCodec, documents: &[Document]) -> Result<Self, DataError> {
        let encode = |document: &Document| {
            let mut tokens = codec.encode(&document.text)?;
            tokens.push(codec.end_id());
            Ok((document.kind.clone(), tokens))
        };
        let documents = documents.iter().map(encode).collect::<Result<Vec<_>, DataError>>()?;
        let tokens = documents.iter().map(|(_, tokens)| tokens.len()).sum();
        Ok(Self { documents, tokens })
    }

    /// The number of documents.
    #[must_use]
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether there is no document.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// The tokens of a document, its end included: never empty.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn document(&self, index: usize) -> &[u32] {
        &self.documents[index].1
    }

    /// The kind of a document.
    ///
    /// # Panics
    /// When there is no such document.
    #[must_use]
    pub fn kind(&self, index: usize) -> &Arc<str> {
        &self.documents[index].0
    }

    /// The tokens of all documents together, their ends included.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}
