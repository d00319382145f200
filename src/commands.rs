//! The subcommands, one file each, and what they share.

mod demo;
mod error;
mod generate;
mod inspect;
mod kv;
mod logits;
mod model_args;
pub(crate) mod output;
mod source;
mod units;

pub(crate) use demo::run as demo;
pub(crate) use error::CommandError;
pub(crate) use generate::GenerateArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use kv::KvArgs;
pub(crate) use logits::LogitsArgs;
