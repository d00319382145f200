//! Sequences packed from documents, with attention inside of each document alone.

use std::ops::Range;
use std::sync::Arc;

use crate::data::{DataError, TokenizedCorpus};

/// A piece of one document: what attention sees at once.
///
/// Its first token is at position 0, also where the piece does not begin its document: a model then
/// lacks what came before, as it would in a cut sequence of any other kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// What kind of text the document is.
    pub kind: Arc<str>,
    /// The document's index in its [`TokenizedCorpus`].
    pub document: usize,
    /// The place of the first token in the document.
    pub start: usize,
    /// The tokens: at least one, at most `seq_len`.
    pub tokens: Vec<u32>,
    /// The document's token after each of `tokens`. It is known where a piece was cut, and is
    /// `None` for the end token alone: nothing follows it.
    pub targets: Vec<Option<u32>>,
}

impl Segment {
    pub(super) fn new(corpus: &TokenizedCorpus, document: usize, range: Range<usize>) -> Self {
        let all = corpus.document(document);
        Self {
            kind: corpus.kind(document).clone(),
            document,
            start: range.start,
            tokens: all[range.clone()].to_vec(),
            targets: range.map(|place| all.get(place + 1).copied()).collect(),
        }
    }
}

/// Segments whose gradients make one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The segments. Those of one sequence follow each other.
    pub segments: Vec<Segment>,
}

impl Batch {
    /// The number of tokens that go in.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.segments.iter().map(|segment| segment.tokens.len()).sum()
    }

    /// The number of tokens that are predicted: what a mean loss is divided by. It may be 0, where
    /// a batch is so small that it holds nothing but end tokens.
    #[must_use]
    pub fn targets(&self) -> usize {
        self.segments.iter().flat_map(|segment| &segment.targets).flatten().count()
    }
}

/// The size of a batch: `batch_size` sequences of `seq_len` tokens.
///
/// Documents follow each other without a gap, each with its end token. A document that is longer
/// than what is left of a sequence is cut there, and goes on in the next sequence as a segment of
/// its own. So no token is lost, none is a filler, and no segment is longer than `seq_len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    seq_len: usize,
    batch_size: usize,
}

impl Packing {
    /// Batches of `batch_size` sequences of `seq_len` tokens.
    ///
    /// # Errors
    /// [`DataError::Setting`] when one is 0, or their product is 2^31 or more.
    pub fn new(seq_len: usize, batch_size: usize) -> Result<Self, DataError> {
        for (name, found) in [("seq_len", seq_len), ("batch_size", batch_size)] {
            if found == 0 {
                return Err(DataError::setting(name, found, "at least 1"));
            }
        }
        if seq_len.checked_mul(batch_size).is_none_or(|tokens| tokens >= 1 << 31) {
            let found = format!("{seq_len} x {batch_size}");
            return Err(DataError::setting("seq_len x batch_size", found, "below 2^31 tokens"));
        }
        Ok(Self { seq_len, batch_size })
    }

    /// The tokens of a sequence.
    #[must_use]
    pub fn seq_len(&self) -> usize {
        self.seq_len
    }

    /// The sequences of a batch.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// One pass over a corpus, in its order, as for validation: every token once. The last batch is
    /// shorter where the corpus does not fill it; an empty corpus gives none.
    ///
    /// ```
    /// use latent_train::data::{Document, Packing, TokenCodec, TokenizedCorpus};
    /// let documents = ["abc", "d"].map(|text| Document::new("letters", text));
    /// let corpus = TokenizedCorpus::encode(&TokenCodec::bytes(), &documents)?;
    /// let batches: Vec<_> = Packing::new(3, 1)?.pass(&corpus).collect();
    /// // `abc`, then the end of it with `d` and its end.
    /// let first = &batches[0].segments[0];
    /// assert_eq!(first.tokens, [97, 98, 99]);
    /// assert_eq!(first.targets, [Some(98), Some(99), Some(256)]);
    /// let second = &batches[1].segments;
    /// assert_eq!((&second[0].tokens[..], &second[0].targets[..]), (&[256][..], &[None][..]));
    /// assert_eq!(second[1].targets, [Some(256), None]);
    /// # Ok::<(), latent_train::data::DataError>(())
    /// ```
    pub fn pass(self, corpus: &TokenizedCorpus) -> impl Iterator<Item = Batch> {
        let mut place = Place::default();
        let mut next = move |room| {
            let document = (place.index < corpus.len()).then_some(place.index)?;
            Some((document, place.advance(corpus.document(document).len(), room)))
        };
        std::iter::from_fn(move || {
            let batch = self.fill(corpus, &mut next);
            (!batch.segments.is_empty()).then_some(batch)
        })
    }

    /// A batch of the pieces that `next` gives for the room that is left in a sequence.
    fn fill(
        self,
        corpus: &TokenizedCorpus,
        mut next: impl FnMut(usize) -> Option<(usize, Range<usize>)>,
    ) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..self.batch_size {
            let mut room = self.seq_len;
            while room > 0 {
                let Some((document, range)) = next(room) else { return batch };
                room -= range.len();
                batch.segments.push(Segment::new(corpus, document, range));
            }
        }
        batch
    }
}

/// How far documents in some order were packed.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The place of a document in the order.
    index: usize,
    /// The next token of it.
    offset: usize,
}

impl Place {
    /// The next piece of a document of `length` tokens, as much as there is room for.
    fn advance(&mut self, length: usize, room: usize) -> Range<usize> {
        let piece = self.offset..length.min(self.offset + room);
        *self = if piece.end == length {
            Self { index: self.index + 1, offset: 0 }
        } else {
            Self { offset: piece.end, ..*self }
        };
        piece
    }
}
