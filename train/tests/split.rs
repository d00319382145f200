//! Training never sees what validates it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use latent_train::data::{Corpus, Document, Split};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn corpus(kinds: &[&str]) -> Corpus {
    let text = |(i, kind): (usize, &&str)| Document::new(*kind, format!("text {i}"));
    Corpus::new(kinds.iter().enumerate().map(text)).unwrap()
}

fn one(text: &str) -> Corpus {
    Corpus::new([Document::new("a", text)]).unwrap()
}

fn texts(split: &Split) -> (&str, &str) {
    (&split.train[0].text, &split.validation[0].text)
}

#[test]
fn each_kind_is_on_both_sides() {
    let kinds: Vec<&str> = [["a"; 20], ["b"; 20]].concat().into_iter().chain(["c", "c"]).collect();
    let split = corpus(&kinds).split(0.1, 5).unwrap();
    let count = |part: &[Document], kind| part.iter().filter(|d| &*d.kind == kind).count();
    for (kind, train, validation) in [("a", 18, 2), ("b", 18, 2), ("c", 1, 1)] {
        assert_eq!(count(&split.train, kind), train);
        assert_eq!(count(&split.validation, kind), validation);
    }
}

#[test]
fn kinds_of_one_document_are_drawn_from_together() {
    let split = corpus(&["a", "b", "c", "d"]).split(0.25, 0).unwrap();
    assert_eq!((split.train.len(), split.validation.len()), (3, 1));
    // `c` is alone, and stays.
    let split = corpus(&["a", "a", "c"]).split(0.9, 0).unwrap();
    assert_eq!((split.train.len(), split.validation.len()), (2, 1));
    assert_eq!(&*split.validation[0].kind, "a");
}

#[test]
fn another_seed_draws_other_documents() {
    let corpus = corpus(&["a"; 50]);
    let split = |seed| corpus.split(0.2, seed).unwrap();
    assert_eq!(split(1), split(1));
    assert_ne!(split(1), split(2));
}

#[test]
fn a_fraction_of_0_keeps_all_for_training() {
    let corpus = corpus(&["a", "a"]);
    let split = corpus.split(0.0, 0).unwrap();
    assert_eq!((&split.train[..], &split.validation[..]), (corpus.documents(), &[][..]));
}

#[test]
fn one_document_is_cut_at_a_line() {
    let lines = one("one\ntwo\nthree\nfour\n");
    // 75 % of 19 bytes are 14: just where `four` begins.
    assert_eq!(texts(&lines.split(0.25, 0).unwrap()), ("one\ntwo\nthree\n", "four\n"));
    assert_eq!(texts(&lines.split(0.5, 0).unwrap()), ("one\ntwo\nthree\n", "four\n"));
    assert_eq!(texts(&lines.split(0.79, 0).unwrap()), ("one\n", "two\nthree\nfour\n"));
    assert_eq!(texts(&lines.split(0.9, 0).unwrap()), ("one\n", "two\nthree\nfour\n"));
}

#[test]
fn one_line_is_cut_at_a_word_or_a_character() {
    assert_eq!(texts(&one("one two three\n").split(0.5, 0).unwrap()), ("one two ", "three\n"));
    assert_eq!(texts(&one("ééé").split(0.5, 0).unwrap()), ("éé", "é"));
}

#[test]
fn a_document_that_cannot_be_cut_is_an_error() {
    for (text, fraction) in [("a", 0.5), ("abc \n", 0.1), ("\n\nabc", 0.9)] {
        let found = one(text).split(fraction, 0).unwrap_err().to_string();
        let wanted = format!(
            "validation fraction: found {fraction} of one document of {} bytes, want a document \
             that can be cut in two, several documents, or 0",
            text.len()
        );
        assert_eq!(found, wanted);
    }
}

#[test]
fn a_fraction_that_is_none_is_an_error() {
    for fraction in [1.0, -0.1, f64::NAN] {
        let found = corpus(&["a", "a"]).split(fraction, 0).unwrap_err().to_string();
        let wanted = format!("validation fraction: found {fraction}, want 0 or more, below 1");
        assert_eq!(found, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn both_parts_together_are_the_corpus(
        kinds in prop::collection::vec(0_usize..4, 2..30),
        fraction in 0.001_f64..1.0,
        seed: u64,
    ) {
        let kinds: Vec<&str> = kinds.into_iter().map(|k| ["a", "b", "c", "d"][k]).collect();
        let corpus = corpus(&kinds);
        let split = corpus.split(fraction, seed).unwrap();
        prop_assert!(!split.train.is_empty() && !split.validation.is_empty());
        // All texts differ, so a document in both, or in none, is found.
        let mut all: Vec<&Document> = split.train.iter().chain(&split.validation).collect();
        let place = |d: &Document| corpus.documents().iter().position(|other| other == d);
        for part in [&split.train, &split.validation] {
            prop_assert!(part.is_sorted_by_key(place));
        }
        all.sort_by_key(|d| place(d));
        prop_assert_eq!(all, corpus.documents().iter().collect::<Vec<_>>());
    }

    #[test]
    fn both_parts_of_one_document_are_all_of_it(text in "[a-c\né ]{0,40}x", fraction in 0.0_f64..1.0) {
        if let Ok(split) = one(&text).split(fraction, 0) {
            let parts = split.train.iter().chain(&split.validation);
            prop_assert_eq!(parts.map(|d| d.text.as_str()).collect::<String>(), text);
        }
    }
}
