//! What can go wrong in attention and its cache, by cause.

use latent_kernels::KernelError;

use crate::{AttentionConfig, PAGE_TOKENS, SequenceId};

/// An error of attention or of its cache.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MlaError {
    /// A size or setting of a layer is not usable.
    #[error("{field}: must be {wanted}, got {found}")]
    Config {
        /// The key of `config.json`.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is wanted.
        wanted: String,
    },
    /// A stored weight does not have the shape that follows from the config.
    #[error("{name}: shape {found:?}, the config wants {wanted:?}")]
    Weight {
        /// The published name, relative to the layer.
        name: String,
        /// The shape of the stored weight, `[rows, cols]`.
        found: Vec<usize>,
        /// The shape in [`AttentionConfig::tensors`].
        wanted: Vec<usize>,
    },
    /// The cache has no room for a step: it wants more pages than are free.
    #[error(
        "cache full: {sequences} sequence(s) hold {held} tokens in {pages_held} of {} pages of \
         {PAGE_TOKENS}; {new} more need {pages_wanted} page(s), max_tokens is {max_tokens}",
        .max_tokens.div_ceil(PAGE_TOKENS)
    )]
    CacheFull {
        /// The sequences that have tokens.
        sequences: usize,
        /// Their tokens; those that forks share count for each.
        held: usize,
        /// The pages that are in use.
        pages_held: usize,
        /// The tokens that the step appends.
        new: usize,
        /// The pages that it needs on top.
        pages_wanted: usize,
        /// The tokens that the cache was made for.
        max_tokens: usize,
    },
    /// A sequence is to be cut to more tokens than it has.
    #[error("truncate: to {found} tokens, the sequence has {len}")]
    Truncate {
        /// The length asked for.
        found: usize,
        /// The length of the sequence.
        len: usize,
    },
    /// A sequence was released, or never was in this cache.
    #[error("{id}: not in this cache (released, or of another cache)")]
    UnknownSequence {
        /// The sequence.
        id: SequenceId,
    },
    /// A step names one sequence twice.
    #[error("{id}: twice in one step, want once")]
    RepeatedSequence {
        /// The sequence.
        id: SequenceId,
    },
    /// A step was committed or abandoned before, or belongs to another cache.
    #[error("{}", stale(*.found, *.open))]
    StaleStep {
        /// The step's number, `None` when it belongs to another cache.
        found: Option<u64>,
        /// The number of the step that is open, `None` when none is.
        open: Option<u64>,
    },
    /// A layer index that the cache does not have.
    #[error("layer {found}: the cache has {layers} layers")]
    Layer {
        /// The index.
        found: usize,
        /// The number of layers of the cache.
        layers: usize,
    },
    /// A layer was given a cache that was made for another one.
    #[error("layer {layer}: config {found:?}, the cache was made for {wanted:?}")]
    CacheConfig {
        /// The index of the layer.
        layer: usize,
        /// The layer's config.
        found: Box<AttentionConfig>,
        /// The config in the cache.
        wanted: Box<AttentionConfig>,
    },
    /// A primitive refused its arguments.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl MlaError {
    pub(crate) fn config(
        field: &'static str,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> Self {
        Self::Config { field, found: found.to_string(), wanted: wanted.into() }
    }
}

fn stale(found: Option<u64>, open: Option<u64>) -> String {
    let found = found.map_or("of another cache".into(), |n| n.to_string());
    let open = open.map_or("no step".into(), |n| format!("step {n}"));
    format!("step {found}: stale, the cache has {open} open")
}
