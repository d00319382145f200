//! The paged cache: what all layers remember of all sequences.
//!
//! A cached row is one token in one layer: `[c_kv after its norm | rotated key]` for latent
//! attention, `[keys of all groups | values of all groups]` otherwise. Rows lie in pages of
//! [`PAGE_TOKENS`]; a pool hands pages out, a table per sequence lists them, and forks share them.
//!
//! # Source
//! Kwon et al., *PagedAttention* (arXiv 2309.06180), section 4.

mod append;
mod format;
mod pool;
mod step;
mod table;

use std::sync::Arc;

use latent_kernels::{RopeTable, Scalar};

use crate::{Attend, AttentionConfig, Latents, MlaError};
use append::Open;
pub(crate) use format::SCALE_BLOCK;
pub use format::{CacheFormat, RowFormat};
#[cfg(feature = "gpu")]
pub(crate) use format::{PER_LARGEST, SMALLEST};
use pool::Pool;
pub use step::{Slot, Span, Step, Written};
pub use table::SequenceId;
use table::{Sequence, Table};

/// The number of rows of a page.
pub const PAGE_TOKENS: usize = 64;

/// The cache of a whole model, for any number of sequences.
///
/// Nothing is allocated until it is used. A page is filled with NaN when it is handed out, so that
/// a read of an unwritten row shows. Forks share pages; the first append to a shared page copies
/// it. Positions come from here and nowhere else.
///
/// One step is open at a time. Whatever changes the table of sequences ([`begin`](Self::begin),
/// [`fork`](Self::fork), [`truncate`](Self::truncate), [`release`](Self::release)) first takes back
/// a step that was neither committed nor aborted.
///
/// ```
/// use latent_mla::kernels::{PairLayout, Reference};
/// use latent_mla::{AttentionConfig, GqaConfig, PagedCache, RopeConfig};
/// # let rope = RopeConfig { theta: 1e4, yarn: None, layout: PairLayout::HalfSplit };
/// # let config = AttentionConfig::Grouped(GqaConfig {
/// #     hidden_size: 2, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 2, rope });
/// let mut cache = PagedCache::new(Reference::<f64>::new(), &[config], 256)?;
/// let a = cache.new_sequence();
/// let step = cache.begin(&[(a, 70)])?;
/// cache.commit(step)?;
/// let b = cache.fork(a)?;
/// cache.truncate(b, 65)?;
/// assert_eq!((cache.len(a)?, cache.len(b)?, cache.free_tokens()), (70, 65, 128));
/// # Ok::<(), latent_mla::MlaError>(())
/// ```
#[derive(Debug)]
pub struct PagedCache<B: Attend> {
    backend: B,
    layers: Vec<Layer<B>>,
    max_tokens: usize,
    pool: Pool,
    table: Table,
    open: Option<Open>,
    steps: u64,
    identity: Arc<()>,
}

#[derive(Debug)]
struct Layer<B: Attend> {
    config: AttentionConfig,
    row_bytes: usize,
    pages: B::Pages,
}

impl<B: Attend> PagedCache<B> {
    /// A cache for layers of `configs` that holds at most `max_tokens` over all sequences, rounded
    /// up to whole pages. Rows are stored unrounded.
    ///
    /// # Errors
    /// [`MlaError::Config`] when a layer's config is not usable.
    pub fn new(
        backend: B,
        configs: &[AttentionConfig],
        max_tokens: usize,
    ) -> Result<Self, MlaError> {
        Self::with_format(backend, configs, max_tokens, CacheFormat::Scalar)
    }

    /// The same with rows stored in `format`.
    ///
    /// # Errors
    /// [`MlaError::Config`] when a layer's config is not usable, or `format` cannot store its rows.
    pub fn with_format(
        backend: B,
        configs: &[AttentionConfig],
        max_tokens: usize,
        format: CacheFormat,
    ) -> Result<Self, MlaError> {
        let layer = |config: &AttentionConfig| {
            config.validate()?;
            let (width, format) = (config.cached_elements(), format.of_rows(config)?);
            let row_bytes = format.row_bytes(width, B::Scalar::BYTES);
            Ok(Layer { config: config.clone(), row_bytes, pages: backend.pages(width, format)? })
        };
        let layers = configs.iter().map(layer).collect::<Result<_, MlaError>>()?;
        Ok(Self {
            backend,
            layers,
            max_tokens,
            pool: Pool::new(max_tokens.div_ceil(PAGE_TOKENS)),
            table: Table::default(),
            open: None,
            steps: 0,
            identity: Arc::new(()),
        })
    }

    /// A new, empty sequence.
    pub fn new_sequence(&mut self) -> SequenceId {
        self.table.insert(Sequence::default())
    }

    /// A new sequence that begins with all tokens of `id`; nothing is copied until one of the two
    /// appends to a page that both use.
    ///
    /// # Errors
    /// [`MlaError::UnknownSequence`] when `id` was released.
    pub fn fork(&mut self, id: SequenceId) -> Result<SequenceId, MlaError> {
        let sequence = self.table.get(id)?.clone();
        self.reclaim();
        for &page in &sequence.pages {
            self.pool.share(page);
        }
        Ok(self.table.insert(sequence))
    }

    /// Cuts a sequence to its first `len` tokens.
    ///
    /// # Errors
    /// [`MlaError::UnknownSequence`] when `id` was released, [`MlaError::Truncate`] when it has
    /// fewer tokens.
    pub fn truncate(&mut self, id: SequenceId, len: usize) -> Result<(), MlaError> {
        let sequence = self.table.get(id)?;
        if len > sequence.len {
            return Err(MlaError::Truncate { found: len, len: sequence.len });
        }
        self.reclaim();
        let sequence = self.table.get_mut(id)?;
        sequence.len = len;
        let dropped = sequence.pages.split_off(len.div_ceil(PAGE_TOKENS));
        self.give_back(&dropped);
        Ok(())
    }

    /// Forgets a sequence; pages that no other sequence uses become free.
    ///
    /// # Errors
    /// [`MlaError::UnknownSequence`] when it was released before.
    pub fn release(&mut self, id: SequenceId) -> Result<(), MlaError> {
        let sequence = self.table.remove(id)?;
        self.reclaim();
        self.give_back(&sequence.pages);
        Ok(())
    }

    /// The number of tokens of a sequence: committed steps only.
    ///
    /// # Errors
    /// [`MlaError::UnknownSequence`] when `id` was released.
    pub fn len(&self, id: SequenceId) -> Result<usize, MlaError> {
        Ok(self.table.get(id)?.len)
    }

    /// The number of layers.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers.len()
    }

    /// The bytes that all pages of all layers take now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|l| self.backend.pages_bytes(&l.pages)).sum()
    }

    /// The bytes of one token over all layers.
    #[must_use]
    pub fn bytes_per_token(&self) -> usize {
        self.layers.iter().map(|l| l.row_bytes).sum()
    }

    /// The tokens that fit into pages which are not in use.
    #[must_use]
    pub fn free_tokens(&self) -> usize {
        self.pool.available().saturating_mul(PAGE_TOKENS)
    }

    /// The rows of a sequence in one layer, `[len, width]`.
    ///
    /// # Errors
    /// [`MlaError::UnknownSequence`] when `id` was released, [`MlaError::Layer`] when there is no
    /// such layer.
    pub fn read(&self, layer: usize, id: SequenceId) -> Result<B::Tensor, MlaError> {
        let sequence = self.table.get(id)?;
        let slots: Vec<Slot> = (0..sequence.len).map(|p| step::slot(&sequence.pages, p)).collect();
        Ok(self.backend.read_rows(&self.layer(layer)?.pages, &slots)?)
    }

    /// Writes one row per token of `step` into `layer`.
    ///
    /// # Shapes
    /// - `rows`: `[token, width]`, where `width` is the layer's
    ///   [`cached_elements`](AttentionConfig::cached_elements)
    ///
    /// # Errors
    /// [`MlaError::StaleStep`], [`MlaError::Layer`], and [`MlaError::Kernel`] when `rows` does not
    /// fit.
    pub fn write(&mut self, step: &Step, layer: usize, rows: &B::Tensor) -> Result<(), MlaError> {
        self.prove_open(step)?;
        let layers = self.layers.len();
        let into = self.layers.get_mut(layer).ok_or(MlaError::Layer { found: layer, layers })?;
        Ok(self.backend.write_rows(&mut into.pages, step.slots(), rows)?)
    }

    /// Writes what latent attention caches of each token of `step` into `layer`: see
    /// [`Attend::write_latents`].
    ///
    /// # Shapes
    /// - `kv_a`: `[token, kv_lora_rank + qk_rope_head_dim]`
    /// - `gain`: `[kv_lora_rank]`
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_latents(
        &mut self,
        step: &Step,
        layer: usize,
        kv_a: &B::Tensor,
        gain: &B::Tensor,
        rope: &RopeTable,
    ) -> Result<(), MlaError> {
        self.prove_open(step)?;
        let layers = self.layers.len();
        let into = self.layers.get_mut(layer).ok_or(MlaError::Layer { found: layer, layers })?;
        let latents = Latents { kv_a, gain, rope, positions: step.positions() };
        Ok(self.backend.write_latents(&mut into.pages, step.slots(), &latents)?)
    }

    /// The pages of one layer, to attend to.
    ///
    /// # Errors
    /// [`MlaError::Layer`] when there is no such layer.
    pub fn pages(&self, layer: usize) -> Result<&B::Pages, MlaError> {
        Ok(&self.layer(layer)?.pages)
    }

    /// Proves that `step` is open here and that `layer` of this cache was made for `config`.
    ///
    /// # Errors
    /// [`MlaError::StaleStep`], [`MlaError::Layer`], [`MlaError::CacheConfig`].
    pub fn check(
        &self,
        step: &Step,
        layer: usize,
        config: &AttentionConfig,
    ) -> Result<(), MlaError> {
        self.prove_open(step)?;
        let wanted = &self.layer(layer)?.config;
        if wanted == config {
            return Ok(());
        }
        let (found, wanted) = (Box::new(config.clone()), Box::new(wanted.clone()));
        Err(MlaError::CacheConfig { layer, found, wanted })
    }

    fn layer(&self, layer: usize) -> Result<&Layer<B>, MlaError> {
        let layers = self.layers.len();
        self.layers.get(layer).ok_or(MlaError::Layer { found: layer, layers })
    }

    fn give_back(&mut self, pages: &[usize]) {
        for &page in pages {
            if self.pool.give_back(page) {
                for layer in &mut self.layers {
                    self.backend.close_page(&mut layer.pages, page);
                }
            }
        }
    }
}
