//! The sequences of a cache and the pages of each.

use std::fmt;

use crate::MlaError;

/// The name of a sequence in the cache that made it.
///
/// A released sequence's name stays invalid: its place is given to others under a new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId {
    index: usize,
    generation: u64,
}

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sequence {}.{}", self.index, self.generation)
    }
}

/// The tokens of one sequence: position `p` lies in row `p % PAGE_TOKENS` of
/// `pages[p / PAGE_TOKENS]`.
#[derive(Debug, Clone, Default)]
pub(super) struct Sequence {
    pub(super) pages: Vec<usize>,
    pub(super) len: usize,
}

/// All sequences.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Entry>,
    free: Vec<usize>,
}

#[derive(Debug, Default)]
struct Entry {
    generation: u64,
    sequence: Option<Sequence>,
}

impl Table {
    pub(super) fn insert(&mut self, sequence: Sequence) -> SequenceId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        let entry = &mut self.entries[index];
        entry.sequence = Some(sequence);
        SequenceId { index, generation: entry.generation }
    }

    pub(super) fn get(&self, id: SequenceId) -> Result<&Sequence, MlaError> {
        let entry = self.entries.get(id.index).filter(|e| e.generation == id.generation);
        entry.and_then(|e| e.sequence.as_ref()).ok_or(MlaError::UnknownSequence { id })
    }

    pub(super) fn get_mut(&mut self, id: SequenceId) -> Result<&mut Sequence, MlaError> {
        let entry = self.entries.get_mut(id.index).filter(|e| e.generation == id.generation);
        entry.and_then(|e| e.sequence.as_mut()).ok_or(MlaError::UnknownSequence { id })
    }

    /// How many sequences have tokens, and how many tokens; shared ones count for each.
    pub(super) fn held(&self) -> (usize, usize) {
        let lens = self.entries.iter().filter_map(|e| e.sequence.as_ref()).map(|s| s.len);
        lens.filter(|&len| len > 0).fold((0, 0), |(n, sum), len| (n + 1, sum + len))
    }

    pub(super) fn remove(&mut self, id: SequenceId) -> Result<Sequence, MlaError> {
        let sequence = std::mem::take(self.get_mut(id)?);
        let entry = &mut self.entries[id.index];
        entry.sequence = None;
        entry.generation += 1;
        self.free.push(id.index);
        Ok(sequence)
    }
}
