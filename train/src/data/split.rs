//! Documents to train on, and others to validate with.

use std::collections::BTreeMap;

use crate::data::{Corpus, DataError, Document};
use crate::random::{Use, permutation};

/// The two parts of a corpus; together they are all of it, and nothing is in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What a model is trained on, in the order of the corpus; never empty.
    pub train: Vec<Document>,
    /// What it never sees, in the order of the corpus; empty at a fraction of 0.
    pub validation: Vec<Document>,
}

impl Corpus {
    /// Splits by document: of each kind, the fraction is drawn by the seed, rounded, with at least
    /// one document on either side. Kinds with a single document are drawn from together.
    ///
    /// **A corpus of one document is cut in two**: the end is for validation, from the line (or
    /// where there is none, the word or the character) that begins next after `1 - fraction` of its
    /// bytes. No seed is needed for this. Repeated texts count as different documents: leave them
    /// out before, where a model must not have seen what validates it.
    ///
    /// ```
    /// use latent_train::data::{Corpus, Document};
    /// let corpus = Corpus::new([Document::new("list", "one\ntwo\nthree\n")])?;
    /// let split = corpus.split(0.5, 0)?;
    /// assert_eq!(split.train[0].text, "one\ntwo\n");
    /// assert_eq!(split.validation[0].text, "three\n");
    /// # Ok::<(), latent_train::data::DataError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::Setting`] when `fraction` is not in `[0, 1)`, or when the only document cannot
    /// be cut into two parts with text.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<Split, DataError> {
        if !(0.0..1.0).contains(&fraction) {
            return Err(DataError::setting("validation fraction", fraction, "0 or more, below 1"));
        }
        let documents = self.documents();
        if fraction == 0.0 {
            return Ok(Split { train: documents.to_vec(), validation: Vec::new() });
        }
        if let [document] = documents {
            return cut(document, fraction);
        }
        let mut validates = vec![false; documents.len()];
        for (group, members) in (0..).zip(groups(documents)) {
            let n = members.len();
            // A group of one stays to be trained on: there are others.
            let count = if n == 1 { 0 } else { rounded(fraction, n).clamp(1, n - 1) };
            for &drawn in &permutation(n, seed, Use::Split, group)[..count] {
                validates[members[drawn]] = true;
            }
        }
        let part = |side| {
            let members = documents.iter().zip(&validates).filter(move |(_, v)| **v == side);
            members.map(|(document, _)| document.clone()).collect()
        };
        Ok(Split { train: part(false), validation: part(true) })
    }
}

/// The documents of each kind that has several, and last those that are alone in their kind.
fn groups(documents: &[Document]) -> Vec<Vec<usize>> {
    let mut kinds: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, document) in documents.iter().enumerate() {
        kinds.entry(&document.kind).or_default().push(index);
    }
    let (alone, mut groups): (Vec<_>, Vec<_>) = kinds.into_values().partition(|g| g.len() == 1);
    let mut alone = alone.concat();
    if !alone.is_empty() {
        alone.sort_unstable();
        groups.push(alone);
    }
    groups
}

#[expect(clippy::cast_possible_truncation, reason = "it is between 0 and n")]
fn rounded(fraction: f64, n: usize) -> usize {
    (fraction * n as f64).round() as usize
}

fn cut(document: &Document, fraction: f64) -> Result<Split, DataError> {
    let text = document.text.as_str();
    let mut from = text.len() - rounded(fraction, text.len());
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let after = |wanted: fn(char) -> bool| {
        // The character before the place counts: a line may begin just there.
        let before = text[..from].char_indices().next_back().map_or(0, |(at, _)| at);
        let mut found = text[before..].char_indices().filter(|&(_, c)| wanted(c));
        let ends = found.next().map(|(at, c)| before + at + c.len_utf8());
        ends.filter(|&at| has_text(&text[..at]) && has_text(&text[at..]))
    };
    let at = after(|c| c == '\n').or_else(|| after(char::is_whitespace)).unwrap_or(from);
    let (train, validation) = text.split_at(at);
    if !has_text(train) || !has_text(validation) {
        let found = format!("{fraction} of one document of {} bytes", text.len());
        let wanted = "a document that can be cut in two, several documents, or 0";
        return Err(DataError::setting("validation fraction", found, wanted));
    }
    let part = |text| vec![Document::new(document.kind.clone(), text)];
    Ok(Split { train: part(train), validation: part(validation) })
}

fn has_text(text: &str) -> bool {
    !text.trim().is_empty()
}
