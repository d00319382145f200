//! Multi-head latent attention and its paged latent cache, with MHA, GQA and MQA behind the same
//! seam.

mod config;
mod error;

pub use config::{AttentionConfig, GqaConfig, LATENT_NORM_EPS, MlaConfig, RopeConfig};
pub use error::MlaError;
