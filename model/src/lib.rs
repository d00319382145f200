//! A published DeepSeek-family checkpoint in, a model out.
//!
//! | you want | look at |
//! | --- | --- |
//! | a folder's model | [`Model::load`] |
//! | its logits, for any mix of prompts and decoded tokens | [`Model::forward`], [`Model::logits`] |
//! | text, streamed | [`Generation`], [`text`], [`sampling`] |
//! | the second next token | [`Model::forward_mtp`] |
//! | how well it predicts a text | [`perplexity`] |
//! | its gradients | [`Model::forward_saving`], [`Model::backward`] |
//! | everything that happens inside | [`trace`], [`Observer`] |
//! | sizes and settings, published ones too | [`config`] |
//! | the files | [`checkpoint`] |
//! | to hold any engine to expected values | [`conformance`] |
//!
//! The model is generic over a backend that knows the primitives
//! ([`kernels::Backend`]), attention ([`mla::Attend`]) and experts ([`moe::Experts`]).

mod block;
mod error;
mod generate;
mod load;
mod logits;
mod model;
mod mtp;
mod observe;
mod tensors;

pub mod checkpoint;
pub mod config;
pub mod conformance;
pub mod perplexity;
pub mod sampling;
pub mod text;
pub mod trace;

pub use block::LayerGradients;
pub use error::ModelError;
pub use generate::{Finish, GenerateOptions, Generation};
pub use latent_kernels as kernels;
pub use latent_mla as mla;
pub use latent_mla::Form;
pub use latent_moe as moe;
pub use load::{LoadOptions, LoadProgress};
pub use model::{Feed, HeadChunk, HeadLoss, Keep, Model, Saved, put_rows};
pub use mtp::SavedMtp;
pub use observe::Observer;
