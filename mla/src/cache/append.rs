//! How sequences grow: a step reserves pages for its tokens, and takes effect when it is committed.

use std::collections::HashSet;
use std::sync::Arc;

use latent_kernels::KernelError;

use super::table::Sequence;
use super::{PAGE_TOKENS, PagedCache, SequenceId, Span, Step};
use crate::{Attend, MlaError};

/// What a step changes when it is committed.
#[derive(Debug)]
pub(super) struct Open {
    number: u64,
    taken: Vec<usize>,
    sequences: Vec<(SequenceId, Sequence)>,
}

impl<B: Attend> PagedCache<B> {
    /// Opens a step that appends to each named sequence that many tokens, in this order: reserves
    /// pages, and copies shared ones that will be written to.
    ///
    /// A sequence may be given no new token. Until [`commit`](Self::commit) every sequence stays as
    /// it is.
    ///
    /// # Errors
    /// [`MlaError::CacheFull`] when pages run out, [`MlaError::UnknownSequence`] and
    /// [`MlaError::RepeatedSequence`] when a sequence was released or named twice. Nothing is
    /// reserved then.
    pub fn begin(&mut self, batch: &[(SequenceId, usize)]) -> Result<Step, MlaError> {
        self.reclaim();
        self.prove_room(batch)?;
        self.steps += 1;
        let number = self.steps;
        self.open = Some(Open { number, taken: Vec::new(), sequences: Vec::new() });
        let mut spans = Vec::with_capacity(batch.len());
        let mut first = 0;
        for &(id, tokens) in batch {
            let Sequence { mut pages, len: start } = self.table.get(id)?.clone();
            if let Err(error) = self.extend(&mut pages, start, tokens) {
                self.reclaim();
                return Err(error.into());
            }
            if let Some(open) = &mut self.open {
                let after = Sequence { pages: pages.clone(), len: start + tokens };
                open.sequences.push((id, after));
            }
            spans.push(Span { first, tokens, start, pages });
            first += tokens;
        }
        Ok(Step::new(Arc::clone(&self.identity), number, spans))
    }

    /// Appends the tokens of `step`: the one place where sequences grow.
    ///
    /// # Errors
    /// [`MlaError::StaleStep`] when the step is not the open one of this cache.
    pub fn commit(&mut self, step: Step) -> Result<(), MlaError> {
        self.prove_open(&step)?;
        let sequences = self.open.take().map_or_else(Vec::new, |open| open.sequences);
        for (id, after) in sequences {
            let sequence = self.table.get_mut(id)?;
            let before = std::mem::replace(sequence, after);
            let copied: Vec<usize> = before
                .pages
                .iter()
                .zip(&sequence.pages)
                .filter_map(|(old, new)| (old != new).then_some(*old))
                .collect();
            self.give_back(&copied);
        }
        Ok(())
    }

    /// Gives up `step` and gives its pages back at once.
    ///
    /// # Errors
    /// [`MlaError::StaleStep`] when the step is not the open one of this cache.
    pub fn abort(&mut self, step: Step) -> Result<(), MlaError> {
        self.prove_open(&step)?;
        self.reclaim();
        Ok(())
    }

    pub(super) fn prove_open(&self, step: &Step) -> Result<(), MlaError> {
        let open = self.open.as_ref().map(|o| o.number);
        let found = Arc::ptr_eq(&self.identity, &step.cache).then_some(step.number);
        if found.is_some() && found == open {
            return Ok(());
        }
        Err(MlaError::StaleStep { found, open })
    }

    fn prove_room(&self, batch: &[(SequenceId, usize)]) -> Result<(), MlaError> {
        let mut named = HashSet::new();
        let (mut new, mut pages) = (0_usize, 0_usize);
        for &(id, tokens) in batch {
            let sequence = self.table.get(id)?;
            if !named.insert(id) {
                return Err(MlaError::RepeatedSequence { id });
            }
            let len = sequence.len.saturating_add(tokens);
            let copied = usize::from(self.must_copy(&sequence.pages, sequence.len, tokens));
            let added = len.div_ceil(PAGE_TOKENS) - sequence.pages.len();
            pages = pages.saturating_add(added + copied);
            new = new.saturating_add(tokens);
        }
        if pages <= self.pool.available() {
            return Ok(());
        }
        let (sequences, held) = self.table.held();
        Err(MlaError::CacheFull {
            sequences,
            held,
            pages_held: self.pool.in_use(),
            new,
            pages_wanted: pages,
            max_tokens: self.max_tokens,
        })
    }

    /// Whether an append goes into a page that another sequence reads.
    fn must_copy(&self, pages: &[usize], len: usize, tokens: usize) -> bool {
        let partly_filled = !len.is_multiple_of(PAGE_TOKENS);
        tokens > 0 && partly_filled && self.pool.is_shared(pages[len / PAGE_TOKENS])
    }

    /// Makes `pages` ready for `tokens` more rows behind row `len`.
    fn extend(
        &mut self,
        pages: &mut Vec<usize>,
        len: usize,
        tokens: usize,
    ) -> Result<(), KernelError> {
        if self.must_copy(pages, len, tokens) {
            let last = &mut pages[len / PAGE_TOKENS];
            let copy = self.take()?;
            for layer in &mut self.layers {
                self.backend.copy_page(&mut layer.pages, *last, copy)?;
            }
            *last = copy;
        }
        while pages.len() < (len + tokens).div_ceil(PAGE_TOKENS) {
            pages.push(self.take()?);
        }
        Ok(())
    }

    /// A page for the open step, full of NaN in each layer.
    fn take(&mut self) -> Result<usize, KernelError> {
        let page = self.pool.take().expect("begin proved that there are enough pages");
        if let Some(open) = &mut self.open {
            open.taken.push(page);
        }
        for layer in &mut self.layers {
            self.backend.open_page(&mut layer.pages, page)?;
        }
        Ok(page)
    }

    /// Takes back the pages of a step that was not committed.
    pub(super) fn reclaim(&mut self) {
        if let Some(open) = self.open.take() {
            self.give_back(&open.taken);
        }
    }
}
