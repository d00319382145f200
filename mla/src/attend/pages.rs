//! Pages in the host's memory.

use latent_kernels::KernelError;

use crate::{PAGE_TOKENS, RowFormat, Slot, Span};

/// The pages of one layer, each an allocation of its own, whose rows are `row_len` of `T`.
#[derive(Debug)]
pub struct HostPages<T> {
    pub(crate) width: usize,
    pub(super) format: RowFormat,
    pub(super) row_len: usize,
    pages: Vec<Option<Page<T>>>, // [page][row, row_len]
}

/// Rows that begin at a cache line: what reads a line at a time then meets one, not two.
#[derive(Debug)]
struct Page<T> {
    /// The rows and room to move them.
    memory: Box<[T]>,
    first: usize,
}

/// The bytes of a cache line.
const LINE_BYTES: usize = 64;

impl<T: Copy> HostPages<T> {
    /// No page is open.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when a page of such rows fits into no memory.
    pub(super) fn new(
        width: usize,
        format: RowFormat,
        row_len: usize,
    ) -> Result<Self, KernelError> {
        let room = LINE_BYTES / size_of::<T>();
        let rows = row_len.checked_mul(PAGE_TOKENS).and_then(|n| n.checked_add(room));
        let bytes = rows.and_then(|n| n.checked_mul(size_of::<T>()));
        if bytes.is_none_or(|n| isize::try_from(n).is_err()) {
            return Err(KernelError::shape("pages", &[width], "want a row that fits into memory"));
        }
        Ok(Self { width, format, row_len, pages: Vec::new() })
    }

    /// Opens a page full of `nan`.
    pub(super) fn open(&mut self, page: usize, nan: T) {
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let room = LINE_BYTES / size_of::<T>();
        let memory: Box<[T]> = vec![nan; PAGE_TOKENS * self.row_len + room].into();
        // An offset may be said to be unknown.
        let first = memory.as_ptr().align_offset(LINE_BYTES).min(room);
        self.pages[page] = Some(Page { memory, first });
    }

    pub(super) fn close(&mut self, page: usize) {
        if let Some(page) = self.pages.get_mut(page) {
            *page = None;
        }
    }

    pub(super) fn copy(&mut self, from: usize, to: usize) -> Result<(), KernelError> {
        let rows = self.page(from)?.to_vec();
        self.page_mut(to)?.copy_from_slice(&rows);
        Ok(())
    }

    /// The bytes that the open pages take in their format, where a scalar has `scalar_bytes`.
    pub(super) fn bytes(&self, scalar_bytes: usize) -> usize {
        let page = PAGE_TOKENS * self.format.row_bytes(self.width, scalar_bytes);
        self.pages.iter().flatten().count() * page
    }

    /// The rows of a page, one after another.
    pub(super) fn page(&self, page: usize) -> Result<&[T], KernelError> {
        let open = self.pages.get(page).and_then(Option::as_ref);
        let Page { memory, first } = open.ok_or_else(|| self.closed(page))?;
        Ok(&memory[*first..][..PAGE_TOKENS * self.row_len])
    }

    fn page_mut(&mut self, page: usize) -> Result<&mut [T], KernelError> {
        let (error, length) = (self.closed(page), PAGE_TOKENS * self.row_len);
        let open = self.pages.get_mut(page).and_then(Option::as_mut).ok_or(error)?;
        Ok(&mut open.memory[open.first..][..length])
    }

    fn closed(&self, found: usize) -> KernelError {
        KernelError::Index { name: "page (not open)".into(), found, limit: self.pages.len() }
    }

    pub(super) fn row(&self, slot: Slot) -> Result<&[T], KernelError> {
        let start = offset(slot)? * self.row_len;
        Ok(&self.page(slot.page)?[start..][..self.row_len])
    }

    pub(super) fn row_mut(&mut self, slot: Slot) -> Result<&mut [T], KernelError> {
        let (start, length) = (offset(slot)? * self.row_len, self.row_len);
        Ok(&mut self.page_mut(slot.page)?[start..][..length])
    }

    /// The rows that a span sees, by position.
    pub(crate) fn rows_of(&self, span: &Span) -> Result<Vec<&[T]>, KernelError> {
        (0..span.keys()).map(|position| self.row(span.slot(position))).collect()
    }
}

fn offset(slot: Slot) -> Result<usize, KernelError> {
    if slot.row < PAGE_TOKENS {
        return Ok(slot.row);
    }
    let name = "row of a page".into();
    Err(KernelError::Index { name, found: slot.row, limit: PAGE_TOKENS })
}
