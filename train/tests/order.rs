//! Batches without end: each epoch has all sequences, and a cursor is all that going on needs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use latent_train::data::{
    Batch, Batches, Cursor, DataError, Document, Packing, TokenCodec, TokenizedCorpus,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn corpus(lengths: &[usize]) -> Arc<TokenizedCorpus> {
    let document = |&length: &usize| Document::new("a", "x".repeat(length));
    let documents: Vec<Document> = lengths.iter().map(document).collect();
    Arc::new(TokenizedCorpus::encode(&TokenCodec::bytes(), &documents).unwrap())
}

fn batches(
    corpus: &Arc<TokenizedCorpus>,
    (seq_len, batch_size): (usize, usize),
    seed: u64,
    cursor: Cursor,
) -> Result<Batches, DataError> {
    Batches::at(corpus.clone(), Packing::new(seq_len, batch_size)?, seed, cursor)
}

/// The first documents of a run, each where it begins.
fn documents(seed: u64, count: usize) -> Vec<usize> {
    let mut batches = batches(&corpus(&[3; 20]), (4, 1), seed, Cursor::default()).unwrap();
    (0..count).map(|_| batches.next_batch().segments[0].document).collect()
}

#[test]
fn each_epoch_has_an_order_of_its_own() {
    let found = documents(7, 40);
    let (first, second) = found.split_at(20);
    assert_ne!(first, second);
    for epoch in [first, second] {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..20).collect::<Vec<_>>());
    }
}

#[test]
fn the_seed_gives_the_order() {
    assert_eq!(documents(7, 20), documents(7, 20));
    assert_ne!(documents(7, 20), documents(8, 20));
}

#[test]
fn the_order_of_a_seed_stays_the_same() {
    // Computed by a ChaCha8 written in Python: other numbers would break going on with old runs.
    assert_eq!(documents(7, 10), [5, 3, 8, 17, 11, 6, 13, 18, 9, 12]);
}

#[test]
fn a_batch_reaches_into_the_next_epoch() {
    let mut batches = batches(&corpus(&[2, 2]), (4, 4), 0, Cursor::default()).unwrap();
    assert_eq!(batches.next_batch().tokens(), 16);
    // An epoch is one sequence of the six tokens.
    assert_eq!(batches.cursor(), Cursor { epoch: 4, sequence: 0 });
}

#[test]
fn a_corpus_shorter_than_a_sequence_is_an_error() {
    let found = batches(&corpus(&[2, 3]), (8, 1), 0, Cursor::default()).unwrap_err();
    let wanted = "corpus is shorter than one sequence: found 7 tokens, want at least 8 (seq_len)";
    assert_eq!(found.to_string(), wanted);
    assert!(batches(&corpus(&[2, 3]), (7, 1), 0, Cursor::default()).is_ok());
    let none = batches(&corpus(&[]), (1, 1), 0, Cursor::default()).unwrap_err().to_string();
    assert!(none.contains("found 0 tokens, want at least 1"));
}

#[test]
fn a_cursor_to_nowhere_is_an_error() {
    let cursor = Cursor { epoch: 0, sequence: 3 };
    let error = batches(&corpus(&[2, 2]), (2, 1), 0, cursor).unwrap_err().to_string();
    assert_eq!(error, "cursor.sequence: found 3, want below the 3 sequences of an epoch");
}

#[test]
fn a_cursor_with_a_field_too_many_is_refused() {
    let text = r#"{"epoch":0,"sequence":0,"seed":1}"#;
    assert!(serde_json::from_str::<Cursor>(text).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn an_epoch_has_every_token_of_its_full_sequences_once(
        lengths in prop::collection::vec(0_usize..15, 1..10),
        seq_len in 1_usize..9,
        seed: u64,
        epochs in 1_u64..4,
    ) {
        let corpus = corpus(&lengths);
        prop_assume!(corpus.tokens() >= seq_len);
        // One sequence a batch, so that an epoch ends where a batch does.
        let mut batches = batches(&corpus, (seq_len, 1), seed, Cursor::default()).unwrap();
        for epoch in 1..=epochs {
            let mut seen = Vec::new();
            for sequence in 0..corpus.tokens() / seq_len {
                prop_assert_eq!(batches.cursor(), Cursor { epoch: epoch - 1, sequence });
                for segment in batches.next_batch().segments {
                    let tokens = segment.start..segment.start + segment.tokens.len();
                    seen.extend(tokens.map(|i| (segment.document, i)));
                }
            }
            prop_assert_eq!(batches.cursor(), Cursor { epoch, sequence: 0 });
            prop_assert_eq!(seen.len(), corpus.tokens() / seq_len * seq_len);
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), corpus.tokens() / seq_len * seq_len);
        }
    }

    #[test]
    fn going_on_at_any_cursor_is_as_if_nothing_had_happened(
        lengths in prop::collection::vec(0_usize..15, 1..10),
        size in (1_usize..9, 1_usize..4),
        seed: u64,
        before in 0_usize..8,
    ) {
        let corpus = corpus(&lengths);
        prop_assume!(corpus.tokens() >= size.0);
        let mut whole = batches(&corpus, size, seed, Cursor::default()).unwrap();
        for _ in 0..before {
            whole.next_batch();
        }
        let kept = serde_json::to_string(&whole.cursor()).unwrap();
        let mut resumed =
            batches(&corpus, size, seed, serde_json::from_str(&kept).unwrap()).unwrap();
        for _ in 0..8 {
            let batch: Batch = whole.next_batch();
            prop_assert_eq!(batch.tokens(), size.0 * size.1);
            prop_assert_eq!(resumed.next_batch(), batch);
            prop_assert_eq!(resumed.cursor(), whole.cursor());
        }
    }

    #[test]
    fn how_many_sequences_make_a_batch_changes_none(
        lengths in prop::collection::vec(0_usize..15, 1..10),
        size in (1_usize..9, 1_usize..4),
        seed: u64,
    ) {
        let corpus = corpus(&lengths);
        prop_assume!(corpus.tokens() >= size.0);
        let segments = |batch_size: usize| {
            let size = (size.0, batch_size);
            let mut batches = batches(&corpus, size, seed, Cursor::default()).unwrap();
            (0..12 / batch_size).flat_map(|_| batches.next_batch().segments).collect::<Vec<_>>()
        };
        prop_assert_eq!(segments(size.1), segments(1));
    }
}

#[test]
fn the_sequences_of_a_batch_come_from_all_over_the_corpus() {
    // Each document is as long as a batch: in a row, a batch would be a document.
    let corpus = corpus(&[99; 40]);
    let mut batches = batches(&corpus, (10, 10), 1, Cursor::default()).unwrap();
    for _ in 0..40 {
        let batch = batches.next_batch();
        let mut documents: Vec<usize> = batch.segments.iter().map(|s| s.document).collect();
        documents.sort_unstable();
        documents.dedup();
        assert!(documents.len() > 5, "{documents:?}");
    }
}
