//! Shuffled batches without end, and the place to go on from.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::data::epoch::Epoch;
use crate::data::{Batch, DataError, Packing, TokenizedCorpus};

/// The next sequence: all that a run must keep to go on with the same batches.
///
/// It means something for one corpus, length of sequences and seed alone.
///
/// ```
/// use latent_train::data::Cursor;
/// let cursor = Cursor { epoch: 2, sequence: 17 };
/// let text = serde_json::to_string(&cursor)?;
/// assert_eq!(text, r#"{"epoch":2,"sequence":17}"#);
/// assert_eq!(serde_json::from_str::<Cursor>(&text)?, cursor);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// How often all sequences were taken.
    pub epoch: u64,
    /// How many sequences of this epoch were taken.
    pub sequence: usize,
}

/// Full batches of a corpus, for ever.
///
/// In each epoch the documents follow each other in an order of its own, and are cut into sequences of
/// `seq_len` tokens, which are taken in an order of their own: the sequences of a batch come from all over
/// the corpus. What is left behind the last full sequence, fewer than `seq_len` tokens, is not taken in that
/// epoch; in the next it lies elsewhere. An epoch ends anywhere in a batch, and the next begins there; a
/// corpus smaller than a batch is in it more than once. The sequences depend on corpus, `seq_len` and seed,
/// and not on how many make a batch.
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
    cursor: Cursor,
    epoch: Epoch,
}

impl Batches {
    /// Batches from a cursor on; [`Cursor::default`] is the beginning.
    ///
    /// # Errors
    /// [`DataError::Short`] when the corpus has fewer tokens than one sequence,
    /// [`DataError::Setting`] when the cursor names a sequence that is not there.
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
        let epoch = Epoch::new(&corpus, seq_len, seed, cursor.epoch);
        if cursor.sequence >= epoch.sequences() {
            let wanted = format!("below the {} sequences of an epoch", epoch.sequences());
            return Err(DataError::setting("cursor.sequence", cursor.sequence, wanted));
        }
        Ok(Self { corpus, packing, seed, cursor, epoch })
    }

    /// Where the next batch begins.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The next batch: `batch_size` sequences of `seq_len` tokens, all of them full.
    pub fn next_batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..self.packing.batch_size() {
            batch.segments.extend(self.epoch.sequence(&self.corpus, self.cursor.sequence));
            self.cursor.sequence += 1;
            if self.cursor.sequence == self.epoch.sequences() {
                self.cursor = Cursor { epoch: self.cursor.epoch.wrapping_add(1), sequence: 0 };
                let seq_len = self.packing.seq_len();
                self.epoch = Epoch::new(&self.corpus, seq_len, self.seed, self.cursor.epoch);
            }
        }
        batch
    }
}
