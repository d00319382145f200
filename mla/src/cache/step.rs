//! One step of a batch: which tokens go where.

use std::sync::Arc;

use crate::{Attend, PagedCache};

/// A row of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot {
    /// The page, the same in each layer.
    pub page: usize,
    /// The row in it, below [`PAGE_TOKENS`](crate::PAGE_TOKENS).
    pub row: usize,
}

/// The tokens of one sequence in a flat batch, and the keys they see.
///
/// The token of batch row `first + i` has position `start + i` and sees the keys at positions
/// `0..=start + i`: causality follows from positions, there is no mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The batch row of the first token.
    pub first: usize,
    /// The number of tokens in this batch; 0 is allowed.
    pub tokens: usize,
    /// The position of the first token: the length of the sequence before the step.
    pub start: usize,
    /// The pages that hold positions `0..start + tokens`, in order.
    pub pages: Vec<usize>,
}

impl Span {
    /// The number of keys that the last token sees.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.start.saturating_add(self.tokens)
    }

    /// Where the row of `position` lies.
    ///
    /// # Panics
    /// When `position` lies behind the last page.
    #[must_use]
    pub fn slot(&self, position: usize) -> Slot {
        slot(&self.pages, position)
    }

    /// The batch rows of the tokens.
    #[must_use]
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.tokens
    }
}

/// A step that [`PagedCache::begin`](crate::PagedCache::begin) opened: room for its tokens is
/// reserved, layers write and attend against it, and it takes effect at
/// [`PagedCache::commit`](crate::PagedCache::commit).
///
/// Dropped, it leaves every sequence as it was; its pages go back at the cache's next change, or at
/// once with [`PagedCache::abort`](crate::PagedCache::abort).
#[derive(Debug)]
#[must_use = "a step takes effect when it is committed"]
pub struct Step {
    pub(super) cache: Arc<()>,
    pub(super) number: u64,
    spans: Vec<Span>,
    positions: Vec<usize>,
    slots: Vec<Slot>,
}

impl Step {
    pub(super) fn new(cache: Arc<()>, number: u64, spans: Vec<Span>) -> Self {
        let tokens = spans.iter().flat_map(|s| (s.start..s.keys()).map(move |p| (p, s.slot(p))));
        let (positions, slots) = tokens.unzip();
        Self { cache, number, spans, positions, slots }
    }

    /// The number of tokens: rows of the flat batch.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.positions.len()
    }

    /// The position of each token in its sequence, `[token]`.
    #[must_use]
    pub fn positions(&self) -> &[usize] {
        &self.positions
    }

    /// Where each token's row goes, `[token]`.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The sequences, in the order in which they were named.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }
}

/// What a step, not committed yet, wrote into one layer of a cache.
#[derive(Debug)]
pub struct Written<'a, B: Attend> {
    /// The cache.
    pub cache: &'a PagedCache<B>,
    /// The step.
    pub step: &'a Step,
    /// The layer.
    pub layer: usize,
}

impl<B: Attend> Clone for Written<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Attend> Copy for Written<'_, B> {}

pub(super) fn slot(pages: &[usize], position: usize) -> Slot {
    Slot { page: pages[position / super::PAGE_TOKENS], row: position % super::PAGE_TOKENS }
}
