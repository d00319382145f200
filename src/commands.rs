//! The subcommands, one file each, and what they share.

mod ablate;
mod answer;
mod answer_args;
mod bench;
mod chat;
mod claims;
mod demo;
#[cfg(feature = "gpu")]
mod devices;
mod dialogue;
mod dump;
mod error;
mod examples;
mod export;
mod generate;
mod grad;
mod inspect;
mod interrupt;
pub(crate) mod kv;
mod logits;
mod model_args;
pub(crate) mod output;
mod perplexity;
pub(crate) mod progress;
mod report;
mod rl;
mod run_args;
mod source;
mod train;
pub(crate) mod units;

pub(crate) use ablate::AblateArgs;
pub(crate) use bench::BenchArgs;
pub(crate) use chat::ChatArgs;
pub(crate) use claims::ClaimsArgs;
pub(crate) use demo::run as demo;
#[cfg(feature = "gpu")]
pub(crate) use devices::DevicesArgs;
pub(crate) use error::CommandError;
pub(crate) use examples::ExamplesArgs;
pub(crate) use export::ExportArgs;
pub(crate) use generate::GenerateArgs;
pub(crate) use grad::GradArgs;
pub(crate) use inspect::InspectArgs;
pub(crate) use kv::KvArgs;
pub(crate) use logits::LogitsArgs;
pub(crate) use perplexity::PerplexityArgs;
pub(crate) use report::ReportArgs;
pub(crate) use rl::{RlArgs, processors};
pub(crate) use train::TrainArgs;
