//! Shuffled batches without end, and the place to go on from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::order::{Use, permutation};
use crate::data::packing::Place;
use crate::data::{Batch, DataError, Packing, TokenizedCorpus};

/// The next token to be packed: all that a run must keep to go on with the same batches.
///
/// It means something for one corpus and seed alone.
///
/// ```
/// use latent_train::data::Cursor;
/// let cursor = Cursor { epoch: 2, index: 5, offset: 17 };
/// let text = serde_json::to_string(&cursor)?;
/// assert_eq!(text, r#"{"epoch":2,"index":5,"offset":17}"#);
/// assert_eq!(serde_json::from_str::<Cursor>(&text)?, cursor);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// How often all documents were packed.
    pub epoch: u64,
    /// How many documents of this epoch were packed to their end.
    pub index: usize,
    /// How many tokens of the next document were packed.
    pub offset: usize,
}

/// Full batches of a corpus, for ever: in each epoch all tokens once, documents in an order of its
/// own.
///
/// An epoch ends anywhere in a batch, and the next begins there. A corpus smaller than a batch is
/// in it more than once. The batches depend on corpus, packing and seed; the order of documents in
/// an epoch on the seed and their number alone.
///
/// ```
/// use std::sync::Arc;
/// use latent_train::data::{Batches, Cursor, Document, Packing, TokenCodec, TokenizedCorpus};
/// let documents = ["abc", "d", "ef"].map(|text| Document::new("letters", text));
/// let corpus = Arc::new(TokenizedCorpus::encode(&TokenCodec::bytes(), &documents)?);
/// let packing = Packing::new(4, 1)?;
/// let mut batches = Batches::at(corpus.clone(), packing, 0, Cursor::default())?;
/// batches.next_batch();
/// let mut later = Batches::at(corpus, packing, 0, batches.cursor())?;
/// assert_eq!(later.next_batch(), batches.next_batch());
/// # Ok::<(), latent_train::data::DataError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Batches {
    corpus: Arc<TokenizedCorpus>,
    packing: Packing,
    seed: u64,
    epoch: u64,
    place: Place,
    order: Vec<usize>,
}

impl Batches {
    /// Batches from a cursor on; [`Cursor::default`] is the beginning.
    ///
    /// # Errors
    /// [`DataError::Short`] when the corpus has fewer tokens than one sequence,
    /// [`DataError::Setting`] when the cursor names a document or a token that is not there.
    pub fn at(
        corpus: Arc<TokenizedCorpus>,
        packing: Packing,
        seed: u64,
        cursor: Cursor,
    ) -> Result<Self, DataError> {
        let (found, seq_len) = (corpus.tokens(), packing.seq_len());
        if found < seq_len {
            return Err(DataError::Short { found, seq_len });
        }
        let Cursor { epoch, index, offset } = cursor;
        let order = permutation(corpus.len(), seed, Use::Epoch, epoch);
        let Some(&document) = order.get(index) else {
            let wanted = format!("below the {} documents of the corpus", order.len());
            return Err(DataError::setting("cursor.index", index, wanted));
        };
        let tokens = corpus.document(document).len();
        if offset >= tokens {
            let wanted = format!("below the {tokens} tokens of document {document}");
            return Err(DataError::setting("cursor.offset", offset, wanted));
        }
        Ok(Self { corpus, packing, seed, epoch, place: Place { index, offset }, order })
    }

    /// Where the next batch begins.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, index: self.place.index, offset: self.place.offset }
    }

    /// The next batch: `batch_size` sequences of `seq_len` tokens, all of them full.
    pub fn next_batch(&mut self) -> Batch {
        let corpus = self.corpus.clone();
        self.packing.fill(&corpus, |room| {
            let document = self.order[self.place.index];
            let piece = self.place.advance(corpus.document(document).len(), room);
            if self.place.index == self.order.len() {
                self.place = Place::default();
                self.epoch = self.epoch.wrapping_add(1);
                self.order = permutation(corpus.len(), self.seed, Use::Epoch, self.epoch);
            }
            Some((document, piece))
        })
    }
}
