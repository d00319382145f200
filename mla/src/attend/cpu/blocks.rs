//! Which queries go together, and how a long cache is shared by threads.
//!
//! Keys are taken in splits of [`SPLIT`], by position. What a query knows of a split does not depend on
//! who computed it, and splits are added in order, stretch by stretch: so neither threads nor batch mates change
//! a bit.

use std::ops::Range;

use latent_kernels::cpu::{Cpu, LANES};

use super::state::{Fold, State};
use super::tile::{Keys, Meet, TILE};
use crate::Span;

/// The keys of a split.
pub(super) const SPLIT: usize = 4 * TILE;

/// How queries are cut into blocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    /// The most queries of a block: their scores and values stay in the nearest caches.
    pub(super) queries: usize,
    /// The heads that meet keys at once.
    pub(super) heads: usize,
}

/// Some tokens of a sequence and some heads that share keys and values.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Which of the spans.
    pub(super) span: usize,
    /// Rows of the batch.
    pub(super) tokens: Range<usize>,
    /// The position of the first of them.
    pub(super) position: usize,
    pub(super) heads: Range<usize>,
}

impl Block {
    /// Blocks of the tokens of a span, which is number `span`, and of heads `0..heads`, of which `shared` neighbours
    /// share keys. A token alone whose keys are one split is shared by `threads`, some heads for each.
    pub(super) fn of_span(
        cut: Cut,
        span: usize,
        of: &Span,
        (heads, shared): (usize, usize),
        threads: usize,
    ) -> Vec<Self> {
        let &Span { first, tokens, start, .. } = of;
        let mut heads_of_a_block = shared.min(cut.queries);
        if tokens == 1 && start < SPLIT {
            let share = heads.div_ceil(threads).next_multiple_of(cut.heads);
            heads_of_a_block = heads_of_a_block.min(share);
        }
        let tokens_of_a_block = (cut.queries / heads_of_a_block.max(1)).max(1);
        let mut blocks = Vec::new();
        for token in (0..tokens).step_by(tokens_of_a_block) {
            for group in (0..heads).step_by(shared.max(1)) {
                for head in (group..group + shared).step_by(heads_of_a_block.max(1)) {
                    blocks.push(Self {
                        span,
                        tokens: first + token..first + tokens.min(token + tokens_of_a_block),
                        position: start + token,
                        heads: head..(head + heads_of_a_block).min(group + shared),
                    });
                }
            }
        }
        blocks
    }

    /// The queries, token by token.
    pub(super) fn queries(&self) -> usize {
        self.tokens.len() * self.heads.len()
    }

    /// The keys that the last token sees.
    pub(super) fn keys(&self) -> usize {
        self.position + self.tokens.len()
    }

    /// How many of the `count` keys from position `first` on each query sees.
    pub(super) fn seen(&self, first: usize, count: usize) -> Vec<usize> {
        let of_token = |i: usize| (self.position + i + 1).saturating_sub(first).min(count);
        (0..self.queries()).map(|q| of_token(q / self.heads.len())).collect()
    }

    /// The splits that its keys begin.
    pub(super) fn splits(&self) -> usize {
        self.keys().div_ceil(SPLIT)
    }

    /// Which of the queries `[token, head]` are its own.
    pub(super) fn rows(&self, heads: usize) -> impl Iterator<Item = usize> {
        self.tokens.clone().flat_map(move |t| self.heads.clone().map(move |h| t * heads + h))
    }

    /// Its queries of `q` `[token, head, width]`.
    pub(super) fn rows_of<'a>(&self, q: &'a [f32], heads: usize, width: usize) -> Vec<&'a [f32]> {
        self.rows(heads).map(|row| &q[row * width..][..width]).collect()
    }

    /// The same, each filled up with zeros.
    pub(super) fn pack(&self, q: &[f32], heads: usize, width: usize) -> Vec<f32> {
        let stride = width.next_multiple_of(LANES);
        let mut packed = vec![0.0; self.queries() * stride];
        let rows = self.rows_of(q, heads, width).into_iter();
        for (row, packed) in rows.zip(packed.chunks_exact_mut(stride.max(1))) {
            packed[..width].copy_from_slice(row);
        }
        packed
    }

    /// Lets its queries see the tile of keys from position `first` on, and asks for what lies `ahead`.
    pub(super) fn meet(
        &self,
        cpu: &Cpu,
        (queries, key_dim, scale): (&[f32], usize, f32),
        first: usize,
        (tile, ahead): (Keys<'_>, &[u8]),
        state: &mut State,
    ) {
        // About as many steps as there are pairs of keys and eighths of queries.
        let steps = (TILE / 2) * self.queries().div_ceil(8);
        cpu.isa().run(Meet {
            queries,
            query_stride: key_dim.next_multiple_of(LANES),
            seen: &self.seen(first, TILE),
            tile,
            key_dim,
            scale,
            state,
            ahead: ahead.as_ptr(),
            ahead_at_once: ahead.len().div_ceil(64 * steps),
        });
    }

    /// Adds what some of its queries know of a split, or of more that begin with it, to what they know of those
    /// before. The first of them is `former`'s first, and has a given place in `later`.
    pub(super) fn fold(
        &self,
        cpu: &Cpu,
        former: &mut State,
        (later, from): (&State, usize),
        split: usize,
        queries: Range<usize>,
    ) {
        let seen = self.seen(split * SPLIT, 1);
        let saw: Vec<bool> = seen[queries].iter().map(|&n| n > 0).collect();
        cpu.isa().run(Fold { former, later, from, saw: &saw });
    }
}
