//! A corpus in the order of one epoch.

use crate::data::TokenizedCorpus;
use crate::data::packing::Segment;
use crate::random::{Use, permutation};

/// All documents in some order, cut into sequences that are taken in another.
#[derive(Debug, Clone)]
pub(super) struct Epoch {
    seq_len: usize,
    documents: Vec<usize>,
    /// Where each of `documents` begins among the tokens of all.
    starts: Vec<usize>,
    sequences: Vec<usize>,
}

impl Epoch {
    pub(super) fn new(corpus: &TokenizedCorpus, seq_len: usize, seed: u64, epoch: u64) -> Self {
        let documents = permutation(corpus.len(), seed, Use::Documents, epoch);
        let starts = documents.iter().scan(0, |next, &document| {
            let start = *next;
            *next += corpus.document(document).len();
            Some(start)
        });
        let starts = starts.collect();
        let sequences = permutation(corpus.tokens() / seq_len, seed, Use::Sequences, epoch);
        Self { seq_len, documents, starts, sequences }
    }

    /// How many sequences there are.
    pub(super) fn sequences(&self) -> usize {
        self.sequences.len()
    }

    /// The pieces of documents that make the sequence which is taken as number `index`.
    pub(super) fn sequence(&self, corpus: &TokenizedCorpus, index: usize) -> Vec<Segment> {
        let mut begin = self.sequences[index] * self.seq_len;
        let end = begin + self.seq_len;
        let mut place = self.starts.partition_point(|&start| start <= begin) - 1;
        let mut segments = Vec::new();
        while begin < end {
            let (document, start) = (self.documents[place], self.starts[place]);
            let stop = end.min(start + corpus.document(document).len());
            segments.push(Segment::new(corpus, document, begin - start..stop - start));
            (begin, place) = (stop, place + 1);
        }
        segments
    }
}
