//! Which pages are in use, and by how many tables.

/// Reference counts of pages, shared by all layers: page `p` exists in each of them.
#[derive(Debug)]
pub(super) struct Pool {
    counts: Vec<usize>,
    free: Vec<usize>,
    limit: usize,
}

impl Pool {
    /// A pool of at most `limit` pages, of which none exists yet.
    pub(super) fn new(limit: usize) -> Self {
        Self { counts: Vec::new(), free: Vec::new(), limit }
    }

    /// The number of pages in use.
    pub(super) fn in_use(&self) -> usize {
        self.counts.len() - self.free.len()
    }

    /// The number of pages that can still be taken.
    pub(super) fn available(&self) -> usize {
        self.limit - self.in_use()
    }

    /// A page with one owner: the one freed last, else one that never was in use.
    pub(super) fn take(&mut self) -> Option<usize> {
        if let Some(page) = self.free.pop() {
            self.counts[page] = 1;
            return Some(page);
        }
        if self.counts.len() == self.limit {
            return None;
        }
        self.counts.push(1);
        Some(self.counts.len() - 1)
    }

    /// Adds an owner.
    pub(super) fn share(&mut self, page: usize) {
        self.counts[page] += 1;
    }

    /// Whether a page has more than one owner.
    pub(super) fn is_shared(&self, page: usize) -> bool {
        self.counts[page] > 1
    }

    /// Removes an owner; true when it was the last one.
    pub(super) fn give_back(&mut self, page: usize) -> bool {
        self.counts[page] -= 1;
        if self.counts[page] > 0 {
            return false;
        }
        self.free.push(page);
        true
    }
}
