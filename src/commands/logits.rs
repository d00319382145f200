//! `latent logits`: everything that a prompt makes inside of a model, in one safetensors file.

use std::path::{Path, PathBuf};

use clap::Args;
use latent_model::Model;
use latent_model::kernels::Scalar;
use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::trace::{CachedRows, Trace, TraceOptions, trace};

use super::dump::Dump;
use super::model_args::{ModelArgs, Task, TokenIds};
use super::{CommandError, output};

/// Write what a prompt makes inside of a model to a safetensors file.
///
/// Keys: `logits` [T, vocab]; `hidden.0` (embeddings) to `hidden.L` (after the last layer, before
/// the last norm) [T, hidden]; `moe_idx.i` and `moe_weight.i` [T, k] by ascending expert id;
/// `cache_latent.i` [T, rank] and `cache_krope.i` [T, rope], or `cache_k.i` and `cache_v.i`
/// where attention has no latent; with --generate `greedy` (N ids) and `greedy_logits` [N, vocab];
/// of a model with multi-token prediction `mtp_logits` [T, vocab].
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent logits --model conformance/v3 --tokens 5,17,200 --dtype f64 --out v3.safetensors
  latent logits --model DIR --tokens 1,2,3 --form absorbed --chunk 1 --generate 16 --out x.safetensors")]
pub(crate) struct LogitsArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// The prompt's token ids, as in 1,2,3
    #[arg(long, short, value_name = "IDS")]
    tokens: TokenIds,
    /// Decode N more tokens greedily, whatever they are
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = decoded)]
    generate: usize,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
}

/// The most tokens to decode: their logits are all kept.
const MAX_DECODED: usize = 1 << 20;

fn decoded(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n <= MAX_DECODED => Ok(n),
        Ok(_) => Err(format!("want at most {MAX_DECODED}")),
        Err(error) => Err(format!("{error}")),
    }
}

impl LogitsArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        output::check_writable(&self.out)?;
        let options = TraceOptions {
            form: self.model.form(),
            chunk: self.model.chunk.unwrap_or(0),
            generate: self.generate,
        };
        self.model.run(Tracing { tokens: &self.tokens.0, options, out: &self.out })
    }
}

/// A prompt, and the file that takes what it makes.
struct Tracing<'a> {
    tokens: &'a [u32],
    options: TraceOptions,
    out: &'a Path,
}

impl Task for Tracing<'_> {
    fn run<B: Attend + Experts>(self, model: &Model<B>) -> Result<(), CommandError> {
        let trace = trace(model, self.tokens, self.options)?;
        to_dump(&trace, self.tokens.len()).write(self.out)
    }
}

fn to_dump<T: Scalar>(trace: &Trace<T>, tokens: usize) -> Dump {
    let mut dump = Dump::default();
    dump.scalars("logits", &trace.logits, tokens);
    for (i, hidden) in trace.hidden.iter().enumerate() {
        dump.scalars(&format!("hidden.{i}"), hidden, tokens);
    }
    for (layer, choices) in &trace.routing {
        let weights: Vec<T> = choices.weights.iter().map(|&w| T::from_f64(w)).collect();
        dump.ids(
            &format!("moe_idx.{layer}"),
            choices.experts.iter().map(|&e| e as u64),
            &[tokens, weights.len() / tokens],
        );
        dump.scalars(&format!("moe_weight.{layer}"), &weights, tokens);
    }
    for (layer, rows) in trace.cached.iter().enumerate() {
        let (first, a, second, b) = match rows {
            CachedRows::Latent { c_kv, k_rope } => ("cache_latent", c_kv, "cache_krope", k_rope),
            CachedRows::Grouped { keys, values } => ("cache_k", keys, "cache_v", values),
        };
        dump.scalars(&format!("{first}.{layer}"), a, tokens);
        dump.scalars(&format!("{second}.{layer}"), b, tokens);
    }
    if !trace.greedy.is_empty() {
        dump.ids("greedy", trace.greedy.iter().map(|&id| u64::from(id)), &[trace.greedy.len()]);
        dump.scalars("greedy_logits", &trace.greedy_logits, trace.greedy.len());
    }
    if let Some(mtp) = &trace.mtp_logits {
        dump.scalars("mtp_logits", mtp, tokens);
    }
    dump
}
