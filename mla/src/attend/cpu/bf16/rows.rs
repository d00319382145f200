//! Some elements of cached rows in bf16: where they lie, or rounded.

use std::ops::Range;

use latent_kernels::cpu::Cpu;

use super::super::blocks::SPLIT;
use super::super::rows::Part;
use super::super::tile::TILE;
use super::lines::{LINE, Line, Round, WIDTH, lines_of};
use super::product::Operand;
use crate::RowFormat;
use crate::attend::pages::HostPages;

/// The same elements of the rows of a page.
pub(super) struct Stored {
    first_byte: usize,
    row_bytes: usize,
    width: usize,
    /// `None` where rows are read as they lie.
    rounded: Option<(Part, Vec<Line>)>,
}

/// Rows of bf16.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bf16Rows {
    pub(super) first: *const u8,
    /// The bytes from a row to the next.
    pub(super) row: usize,
}

impl Bf16Rows {
    /// As tiles of sixteen.
    pub(super) fn operand(self) -> Operand {
        Operand { first: self.first, row: self.row, tile: self.row * (TILE / 4), step: LINE }
    }
}

impl Stored {
    /// Keys: what is behind them in a line that they end in must be zeros.
    pub(super) fn keys(pages: &HostPages<u8>, elements: Range<usize>) -> Self {
        let whole = elements.len().is_multiple_of(WIDTH);
        Self::new(pages, elements, whole)
    }

    /// Values: nothing behind them is read.
    pub(super) fn values(pages: &HostPages<u8>, elements: Range<usize>) -> Self {
        Self::new(pages, elements, true)
    }

    fn new(pages: &HostPages<u8>, elements: Range<usize>, whole: bool) -> Self {
        let width = elements.len();
        let as_they_lie = pages.format == RowFormat::Bf16 && whole;
        let lines = SPLIT * lines_of(width);
        let rounded = (!as_they_lie)
            .then(|| (Part::new(pages, elements.clone()), vec![Line::default(); lines]));
        Self { first_byte: 2 * elements.start, row_bytes: pages.row_len, width, rounded }
    }

    /// Those of the first `count` rows of a page; behind them others, up to a page. What is rounded stays at
    /// the page's place of its split.
    pub(super) fn rows(&mut self, cpu: &Cpu, page: &[u8], count: usize, place: usize) -> Bf16Rows {
        assert!(page.len() >= TILE * self.row_bytes, "a page");
        match &mut self.rounded {
            None => Bf16Rows { first: page[self.first_byte..].as_ptr(), row: self.row_bytes },
            Some((part, lines)) => {
                part.widen(cpu, page, count);
                let (rows, stride) = part.rows();
                let (width, across) = (self.width, lines_of(self.width));
                let to = &mut lines[place * TILE * across..][..TILE * across];
                let first = to.as_ptr().cast();
                cpu.isa().run(Round { rows, stride, width, count, to, across });
                Bf16Rows { first, row: across * LINE }
            }
        }
    }

    /// Whether rows are read as they lie.
    pub(super) fn as_they_lie(&self) -> bool {
        self.rounded.is_none()
    }
}
