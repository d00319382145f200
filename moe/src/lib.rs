//! Top-k expert gating, dispatch, routed and shared experts, and their balance.
//!
//! | you want | look at |
//! | --- | --- |
//! | a layer from a checkpoint | [`MoeLayer`], [`MoeConfig`] |
//! | which experts a token is sent to, and why | [`gate`], [`Routing`] |
//! | tokens sorted by expert, and their way back | [`dispatch`], [`Dispatch`] |
//! | one feed-forward block: dense, shared or routed | [`Mlp`] |
//! | loads, MaxVio, the bias rule and the balance losses | [`balance`] |
//! | how much an expert tells of a token's kind | [`specialisation`] |
//! | to run fast on a processor | [`Cpu`](latent_kernels::cpu::Cpu), [`CpuExperts`] |
//! | to run on a GPU | `gpu` (feature `gpu`) |
//! | its gradients | [`ExpertsBackward`], [`MoeLayer::backward`] |
//! | your own backend | [`Experts`], and `experts_suite!` of the feature `suite` |
//!
//! [`kernels`] is the crate of the primitives underneath, for those who import this crate alone.

mod backward;
mod config;
mod error;
mod experts;
mod layer;
mod mlp;
mod routing;

pub mod balance;
pub mod dispatch;
pub mod gate;
#[cfg(feature = "gpu")]
pub mod gpu;
pub mod specialisation;
#[cfg(feature = "suite")]
pub mod suite;

pub use backward::{ExpertsBackward, MlpGradients, RoutedGradients, SavedRouted};
pub use config::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};
pub use dispatch::Dispatch;
pub use error::MoeError;
pub use experts::{CpuExperts, Experts};
pub use latent_kernels as kernels;
pub use layer::{MoeLayer, SavedMoe};
pub use mlp::{Mlp, MlpWeights, SavedMlp};
pub use routing::Routing;
