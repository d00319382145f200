//! Top-k expert gating, dispatch, routed and shared experts, and their balance.

mod config;
mod error;

pub use config::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};
pub use error::MoeError;
