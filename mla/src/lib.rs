//! Multi-head latent attention and its paged latent cache, with MHA, GQA and MQA behind the same
//! seam.
//!
//! | you want | look at |
//! | --- | --- |
//! | the sizes of a layer, and what it wants of a checkpoint | [`AttentionConfig`], [`MlaConfig`], [`GqaConfig`] |
//! | a layer: project, rotate, append, attend, project | [`Attention`], [`LatentAttention`], [`GroupedAttention`] |
//! | the cache of all layers: pages, sequences, forks, steps | [`PagedCache`], [`Step`] |
//! | to store its rows in fewer bits | [`CacheFormat`] |
//! | expanded or absorbed, and what each costs | [`Form`] |
//! | what a backend must do for it | [`Attend`]; for its gradients: [`AttendBackward`] |
//!
//! ```
//! use latent_mla::kernels::{PairLayout, Reference};
//! use latent_mla::{AttentionConfig, GqaConfig, PagedCache, RopeConfig};
//!
//! let rope = RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::HalfSplit };
//! let config = AttentionConfig::Grouped(GqaConfig {
//!     hidden_size: 8, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 2, rope,
//! });
//! let mut cache = PagedCache::new(Reference::<f32>::new(), &[config], 128)?;
//! let a = cache.new_sequence();
//! let step = cache.begin(&[(a, 3)])?;
//! assert_eq!(step.positions(), [0, 1, 2]);
//! cache.commit(step)?;
//! assert_eq!((cache.len(a)?, cache.bytes_per_token()), (3, 32));
//! # Ok::<(), latent_mla::MlaError>(())
//! ```

mod attend;
mod backward;
mod cache;
mod config;
mod error;
pub mod form;
mod grouped;
mod latent;
mod layer;
mod weights;

#[cfg(feature = "suite")]
pub mod suite;

/// Attention on a device: how its work is cut.
#[cfg(feature = "gpu")]
pub mod gpu {
    pub use crate::attend::gpu::{
        AttendPlan, GpuPages, SPLIT_KEYS, attend_expanded_within, attend_within,
    };
}

/// The backends and primitives that this crate is written against.
pub use latent_kernels as kernels;

pub use attend::{Attend, LatentDims, Latents, RowLayout, check_attend, check_expanded};
pub use backward::{AttendBackward, check_attend_backward, check_expanded_backward};
pub use cache::{
    CacheFormat, PAGE_TOKENS, PagedCache, RowFormat, SequenceId, Slot, Span, Step, Written,
};
pub use config::{AttentionConfig, GqaConfig, LATENT_NORM_EPS, MlaConfig, RopeConfig};
pub use error::MlaError;
pub use form::Form;
pub use grouped::{GroupedAttention, SavedGrouped};
pub use latent::{LatentAttention, Query, SavedLatent};
pub use layer::{Attention, SavedAttention};

/// Keeps the example of the repository's front page compiling.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
