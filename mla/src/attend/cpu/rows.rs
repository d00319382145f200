//! The keys and values of a page, widened.

use std::cell::RefCell;
use std::ops::Range;

use latent_kernels::cpu::{Cpu, LANES};

use super::tile::{Keys, TILE};
use super::widen::Widen;
use crate::attend::pages::HostPages;
use crate::{RowFormat, RowLayout, Span};

thread_local! {
    /// Memory that former parts left: one is needed for every block of queries.
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Some elements of up to [`TILE`] rows.
pub(super) struct Part {
    elements: Range<usize>,
    /// What is widened: scaled rows are as a whole.
    widened: Range<usize>,
    format: RowFormat,
    width: usize,
    row_bytes: usize,
    rows: Vec<f32>, // [row, stride]
    stride: usize,
}

impl Part {
    pub(super) fn new(pages: &HostPages<u8>, elements: Range<usize>) -> Self {
        let widened = match pages.format {
            RowFormat::Fp8 { .. } => 0..pages.width,
            RowFormat::Scalar | RowFormat::Bf16 => elements.clone(),
        };
        let stride = widened.len().next_multiple_of(LANES) + LANES;
        let mut rows = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        // Values are read up to a vector behind a row.
        rows.resize(TILE * stride + LANES, 0.0);
        Self {
            elements,
            widened,
            format: pages.format,
            width: pages.width,
            row_bytes: pages.row_len,
            rows,
            stride,
        }
    }

    /// Widens the first `count` rows of `stored`.
    pub(super) fn widen(&mut self, cpu: &Cpu, stored: &[u8], count: usize) {
        cpu.isa().run(Widen {
            rows: stored,
            row_bytes: self.row_bytes,
            format: self.format,
            width: self.width,
            part: self.widened.clone(),
            count,
            to: &mut self.rows,
            stride: self.stride,
        });
        // A dot product runs over whole vectors: what is behind its part must be 0.
        let from = self.elements.start - self.widened.start;
        let end = from + self.elements.len();
        let padded = from + self.elements.len().next_multiple_of(LANES);
        if end != self.widened.len() {
            for row in self.rows.chunks_exact_mut(self.stride).take(count) {
                row[end..padded.min(self.stride)].fill(0.0);
            }
        }
    }

    /// The rows from the part's first element on, and the elements from one to the next.
    pub(super) fn rows(&self) -> (&[f32], usize) {
        (&self.rows[self.elements.start - self.widened.start..], self.stride)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let rows = std::mem::take(&mut self.rows);
        SPARE.with_borrow_mut(|spare| spare.push(rows));
    }
}

/// The tiles of one group of heads in a sequence.
pub(super) struct Tiles<'a> {
    pages: &'a HostPages<u8>,
    span: &'a Span,
    keys: Part,
    /// `None` where values lie inside of keys, and at which element of theirs.
    values: Option<Part>,
    value_at: usize,
}

impl<'a> Tiles<'a> {
    pub(super) fn new(
        pages: &'a HostPages<u8>,
        span: &'a Span,
        layout: RowLayout,
        group: usize,
    ) -> Self {
        let key = group * layout.key_dim;
        let value = layout.value_offset + group * layout.value_dim;
        let inside = key <= value && value + layout.value_dim <= key + layout.key_dim;
        let keys = Part::new(pages, key..key + layout.key_dim);
        let values = (!inside).then(|| Part::new(pages, value..value + layout.value_dim));
        let value_at = if inside { value - key } else { 0 };
        Self { pages, span, keys, values, value_at }
    }

    /// The keys and values of the `tile`th page, of positions below `end`, and the page behind it.
    pub(super) fn tile(&mut self, cpu: &Cpu, tile: usize, end: usize) -> (Keys<'_>, &'a [u8]) {
        let count = TILE.min(end - tile * TILE);
        let stored = self.pages.page(self.span.pages[tile]).expect("pages were proved to be open");
        self.keys.widen(cpu, stored, count);
        let (values, value_stride) = match &mut self.values {
            Some(part) => {
                part.widen(cpu, stored, count);
                part.rows()
            }
            None => {
                let (keys, stride) = self.keys.rows();
                (&keys[self.value_at..], stride)
            }
        };
        let next = if end > (tile + 1) * TILE { self.span.pages.get(tile + 1) } else { None };
        let ahead = next.and_then(|&page| self.pages.page(page).ok()).unwrap_or_default();
        let (keys, key_stride) = self.keys.rows();
        (Keys { keys, key_stride, values, value_stride }, ahead)
    }
}
