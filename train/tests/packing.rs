//! Sequences hold every token once, and targets never leave a document.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use latent_train::data::{Batch, Document, Packing, Segment, TokenCodec, TokenizedCorpus};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const END: u32 = 256;

fn corpus(texts: &[&str]) -> TokenizedCorpus {
    let document = |(i, text): (usize, &&str)| Document::new(i.to_string(), *text);
    let documents: Vec<Document> = texts.iter().enumerate().map(document).collect();
    TokenizedCorpus::encode(&TokenCodec::bytes(), &documents).unwrap()
}

fn pass(texts: &[&str], seq_len: usize, batch_size: usize) -> Vec<Batch> {
    Packing::new(seq_len, batch_size).unwrap().pass(&corpus(texts)).collect()
}

#[test]
fn a_document_that_is_too_long_goes_on_in_the_next_sequence() {
    let batches = pass(&["abcdef", "g"], 4, 2);
    let segment = |document: usize, start, tokens: &[u32], targets: &[Option<u32>]| Segment {
        kind: document.to_string().into(),
        document,
        start,
        tokens: tokens.into(),
        targets: targets.into(),
    };
    let wanted = [
        segment(0, 0, &[97, 98, 99, 100], &[Some(98), Some(99), Some(100), Some(101)]),
        segment(0, 4, &[101, 102, END], &[Some(102), Some(END), None]),
        segment(1, 0, &[103], &[Some(END)]),
    ];
    assert_eq!(batches[0].segments, wanted);
    assert_eq!(batches[1].segments, [segment(1, 1, &[END], &[None])]);
    assert_eq!(batches.len(), 2);
}

#[test]
fn ends_have_no_target() {
    let batches = pass(&["ab", "c"], 5, 1);
    assert_eq!((batches[0].tokens(), batches[0].targets()), (5, 3));
    let ends = pass(&["a"], 1, 1);
    assert_eq!((ends[1].tokens(), ends[1].targets()), (1, 0));
}

#[test]
fn no_documents_give_no_batch() {
    assert!(pass(&[], 4, 2).is_empty());
    assert!(corpus(&[]).is_empty());
}

#[test]
fn sizes_that_are_none_are_errors() {
    let message = |seq_len, batch| Packing::new(seq_len, batch).unwrap_err().to_string();
    assert_eq!(message(0, 1), "seq_len: found 0, want at least 1");
    assert_eq!(message(1, 0), "batch_size: found 0, want at least 1");
    let wanted = "seq_len x batch_size: found 65536 x 32768, want below 2^31 tokens";
    assert_eq!(message(1 << 16, 1 << 15), wanted);
    assert!(message(usize::MAX, 2).starts_with("seq_len x batch_size"));
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[a-zé]{0,20}", 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_token_goes_in_once_and_in_order(texts in texts(), seq_len in 1_usize..12, batch_size in 1_usize..4) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut found = vec![Vec::<u32>::new(); texts.len()];
        for segment in pass(&texts, seq_len, batch_size).iter().flat_map(|b| &b.segments) {
            prop_assert_eq!(segment.start, found[segment.document].len());
            found[segment.document].extend(&segment.tokens);
        }
        let wanted = |text: &&str| text.bytes().map(u32::from).chain([END]).collect::<Vec<_>>();
        prop_assert_eq!(found, texts.iter().map(wanted).collect::<Vec<_>>());
    }

    #[test]
    fn a_target_is_the_next_token_of_its_document(texts in texts(), seq_len in 1_usize..12) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        for segment in pass(&texts, seq_len, 1).iter().flat_map(|b| &b.segments) {
            prop_assert_eq!(segment.tokens.len(), segment.targets.len());
            let bytes = texts[segment.document].as_bytes();
            for (i, &target) in segment.targets.iter().enumerate() {
                let place = segment.start + i + 1;
                let wanted = match place.cmp(&bytes.len()) {
                    std::cmp::Ordering::Less => Some(u32::from(bytes[place])),
                    std::cmp::Ordering::Equal => Some(END),
                    std::cmp::Ordering::Greater => None,
                };
                prop_assert_eq!(target, wanted);
            }
        }
    }

    #[test]
    fn sequences_are_full_but_for_the_last(texts in texts(), seq_len in 1_usize..12, batch_size in 1_usize..4) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let batches = pass(&texts, seq_len, batch_size);
        let (last, full) = batches.split_last().unwrap();
        prop_assert!(full.iter().all(|b| b.tokens() == seq_len * batch_size));
        prop_assert!((1..=seq_len * batch_size).contains(&last.tokens()));
        // No segment reaches over the end of a sequence.
        for batch in &batches {
            let mut filled = 0;
            for segment in &batch.segments {
                filled += segment.tokens.len();
                prop_assert!(filled <= seq_len);
                filled %= seq_len;
            }
        }
    }
}
