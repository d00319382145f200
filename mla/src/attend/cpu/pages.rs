//! Rows as they are stored, page by page.

use latent_kernels::KernelError;

use crate::{PAGE_TOKENS, RowFormat, Slot};

/// The pages of one layer, each an allocation of its own.
#[derive(Debug)]
pub struct CpuPages {
    pub(super) width: usize,
    pub(super) format: RowFormat,
    row_bytes: usize,
    pages: Vec<Option<Box<[u8]>>>, // [page][row, byte]
}

impl CpuPages {
    pub(super) fn new(width: usize, format: RowFormat) -> Result<Self, KernelError> {
        let row_bytes = format.row_bytes(width, 4);
        if row_bytes.checked_mul(PAGE_TOKENS).is_none_or(|n| isize::try_from(n).is_err()) {
            return Err(KernelError::shape("pages", &[width], "want a row that fits into memory"));
        }
        Ok(Self { width, format, row_bytes, pages: Vec::new() })
    }

    /// Opens a page; all bits set are NaN in every format.
    pub(super) fn open(&mut self, page: usize) {
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page] = Some(vec![0xff; PAGE_TOKENS * self.row_bytes].into());
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

    /// The bytes that the open pages take.
    pub(super) fn bytes(&self) -> usize {
        self.pages.iter().flatten().map(|page| page.len()).sum()
    }

    /// The rows of a page, one after another.
    pub(super) fn page(&self, page: usize) -> Result<&[u8], KernelError> {
        self.pages.get(page).and_then(Option::as_deref).ok_or_else(|| self.closed(page))
    }

    fn page_mut(&mut self, page: usize) -> Result<&mut [u8], KernelError> {
        let error = self.closed(page);
        self.pages.get_mut(page).and_then(Option::as_deref_mut).ok_or(error)
    }

    fn closed(&self, found: usize) -> KernelError {
        KernelError::Index { name: "page (not open)".into(), found, limit: self.pages.len() }
    }

    /// The bytes of a row.
    pub(super) fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    pub(super) fn row(&self, slot: Slot) -> Result<&[u8], KernelError> {
        let start = offset(slot)? * self.row_bytes;
        Ok(&self.page(slot.page)?[start..][..self.row_bytes])
    }

    pub(super) fn row_mut(&mut self, slot: Slot) -> Result<&mut [u8], KernelError> {
        let (start, bytes) = (offset(slot)? * self.row_bytes, self.row_bytes);
        Ok(&mut self.page_mut(slot.page)?[start..][..bytes])
    }
}

fn offset(slot: Slot) -> Result<usize, KernelError> {
    if slot.row < PAGE_TOKENS {
        return Ok(slot.row);
    }
    let name = "row of a page".into();
    Err(KernelError::Index { name, found: slot.row, limit: PAGE_TOKENS })
}
