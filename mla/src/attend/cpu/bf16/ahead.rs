//! Memory that is asked for while other work is done.

use latent_kernels::cpu::Simd;

use super::super::blocks::SPLIT;
use super::super::tile::TILE;
use super::lines::LINE;

/// The pages of a split.
pub(super) const PAGES: usize = SPLIT / TILE;

/// Pages that are read soon, a line after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ahead {
    pages: [*const u8; PAGES],
    count: usize,
    /// The lines of a page, and those of the first one that were asked for.
    lines: usize,
    asked: usize,
    page: usize,
}

impl Ahead {
    /// No memory.
    pub(super) fn none() -> Self {
        Self { pages: [std::ptr::null(); PAGES], count: 0, lines: 0, asked: 0, page: 0 }
    }

    /// One more page, as long as the others.
    pub(super) fn push(&mut self, page: &[u8]) {
        self.pages[self.count] = page.as_ptr();
        self.count += 1;
        self.lines = page.len().div_ceil(LINE);
    }

    /// Asks for so many lines, or those that are left.
    ///
    /// # Safety
    /// The processor has the instructions of `S`.
    #[inline(always)]
    pub(super) unsafe fn ask<S: Simd>(&mut self, lines: usize) {
        if self.page == self.count {
            return;
        }
        let page = self.pages[self.page];
        for line in self.asked..self.asked + lines {
            // SAFETY: by the contract of this function.
            unsafe { S::prefetch_far(page.wrapping_add(line * LINE)) };
        }
        self.asked += lines;
        if self.asked >= self.lines {
            (self.asked, self.page) = (0, self.page + 1);
        }
    }
}
