//! Which tokens a cube takes, and in which pages their keys lie.

use std::ops::Range;

use latent_kernels::KernelError;
use latent_kernels::gpu::{Buffer, Gpu};

use super::pages::word;
use super::plan::SPLIT_KEYS;
use crate::Span;

/// Some tokens of one span in a row: what a cube takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    /// The batch row of the first one.
    pub(super) row: usize,
    /// The number of tokens.
    pub(super) tokens: usize,
    /// The position of the first one.
    pub(super) start: usize,
    /// Where the span's table of pages begins in the list of all tables.
    pub(super) table: usize,
}

impl Block {
    /// The keys that the last token sees.
    pub(super) fn keys(self) -> usize {
        self.start + self.tokens
    }

    /// The splits that these lie in.
    pub(super) fn splits(self) -> usize {
        self.keys().div_ceil(SPLIT_KEYS)
    }
}

/// The tokens of some spans in blocks, and the tables of their pages.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) blocks: Vec<Block>,
    pub(super) pages: Buffer,
}

impl Tables {
    /// Blocks of up to `tokens` tokens of `spans`, whose pages are `pages_of(span)`.
    pub(super) fn new<'a>(
        gpu: &Gpu,
        spans: impl Iterator<Item = (&'a Span, Vec<usize>)>,
        tokens: usize,
    ) -> Result<Self, KernelError> {
        let (mut blocks, mut pages) = (Vec::new(), Vec::new());
        for (span, of_span) in spans {
            let table = pages.len();
            pages.extend(of_span.into_iter().map(word));
            blocks.extend((0..span.tokens).step_by(tokens).map(|i| Block {
                row: span.first + i,
                tokens: tokens.min(span.tokens - i),
                start: span.start + i,
                table,
            }));
        }
        Ok(Self { blocks, pages: gpu.upload_words(&pages)? })
    }
}

/// Consecutive blocks whose rows times splits are at most `limit`, or one block.
pub(super) fn groups(blocks: &[Block], limit: usize) -> Vec<&[Block]> {
    let mut groups = Vec::new();
    let (mut first, mut rows, mut splits) = (0, 0, 0);
    for (i, block) in blocks.iter().enumerate() {
        rows += block.tokens;
        splits = splits.max(block.splits());
        if i > first && rows * splits > limit {
            groups.push(&blocks[first..i]);
            (first, rows, splits) = (i, block.tokens, block.splits());
        }
    }
    groups.extend((first < blocks.len()).then_some(&blocks[first..]));
    groups
}

/// The batch rows of consecutive blocks.
pub(super) fn rows(blocks: &[Block]) -> Range<usize> {
    let end = blocks.last().map_or(0, |b| b.row + b.tokens);
    blocks.first().map_or(0, |b| b.row)..end
}

/// The most splits of any of them.
pub(super) fn splits(blocks: &[Block]) -> usize {
    blocks.iter().map(|b| b.splits()).max().unwrap_or(0)
}
