//! `latent bench`: how fast a model runs, and what that moves and computes.

mod peaks;
mod report;

use std::time::Instant;

use clap::Args;
use latent_model::mla::{Attend, PAGE_TOKENS, PagedCache, SequenceId};
use latent_model::moe::Experts;
use latent_model::{Feed, Form, Model, ModelError};

use self::report::{Phase, Report};
use super::model_args::{CacheArgs, ModelArgs, Task, at_least_one};
use super::{CommandError, output, progress};

/// Measure how fast a model reads a prompt and decodes, and print what that moves and computes.
///
/// The tokens are 0, 1, 2, ...: their meaning changes no speed. Several sequences have different ones, and
/// count together. A phase is run once to warm up, then
/// as often as asked; the median counts. Bytes and operations are counted by backends that keep a
/// ledger (cpu, gpu), from the plans of the kernels, by no counter of the hardware. On a processor
/// the machine's limits are measured first: bytes read and multiply-adds by all threads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent bench --model DIR
  latent bench --model DIR --backend gpu --prompt 2048 --new 64
  latent bench --model DIR --batch-size 8 --dtype bf16
  latent bench --model conformance/v3 --backend gpu --device software --prompt 64 --new 8 --json")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// Sequences that are read and decoded together
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    batch_size: usize,
    /// Tokens of the prompt of each sequence
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one)]
    prompt: usize,
    /// Tokens to decode behind it
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = at_least_one)]
    new: usize,
    /// Runs that count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    runs: usize,
    /// The device's memory bandwidth, to compare with [default: its data sheet's, where known]
    #[arg(long, value_name = "GB/S", value_parser = above_0)]
    peak_bandwidth: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn above_0(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(n) if n > 0.0 && f64::is_finite(n) => Ok(n),
        Ok(n) => Err(format!("{n}, want a number above 0")),
        Err(error) => Err(format!("{error}")),
    }
}

impl BenchArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        self.model.run(&self)
    }
}

impl Task for &BenchArgs {
    fn run<B: Attend + Experts>(self, model: &Model<B>) -> Result<(), CommandError> {
        let longest = model.config().max_position_embeddings;
        if self.prompt.saturating_add(self.new) > longest {
            let (prompt, new) = (self.prompt, self.new);
            let text =
                format!("--prompt {prompt} and --new {new}: the model holds {longest} tokens");
            return Err(CommandError::Usage(text));
        }
        let measured = model.backend().measure_peaks();
        let bar = progress::bar(self.runs + 1, "run {bar:40} {pos}/{len}, {eta} left");
        let run = || {
            let phases = Bench { model, form: self.model.form() }.run(self)?;
            bar.inc(1);
            Ok(phases)
        };
        run()?;
        let runs: Vec<[Phase; 2]> =
            (0..self.runs).map(|_| run()).collect::<Result<_, CommandError>>()?;
        bar.finish_and_clear();
        let backend = model.backend().name();
        let peak = self.peak_bandwidth.or_else(|| peaks::bandwidth(&backend));
        let report = Report::new(backend, &runs, peak, measured);
        output::print(&if self.json { report.json() } else { report.table() })
    }
}

/// One model, ready to be timed.
struct Bench<'a, B: Attend + Experts> {
    model: &'a Model<B>,
    form: Form,
}

impl<B: Attend + Experts> Bench<'_, B> {
    /// Reads the prompt and decodes, each timed as a whole.
    fn run(&self, args: &BenchArgs) -> Result<[Phase; 2], CommandError> {
        let of_each = (args.prompt + args.new).next_multiple_of(PAGE_TOKENS);
        let room = args.batch_size.saturating_mul(of_each);
        let mut cache = self.model.cache_in(args.cache.format(), room)?;
        let sequences: Vec<SequenceId> =
            (0..args.batch_size).map(|_| cache.new_sequence()).collect();
        let vocabulary = u32::try_from(self.model.config().vocab_size).unwrap_or(u32::MAX);
        let mut ids = (0..vocabulary).cycle();
        let prompts: Vec<Vec<u32>> =
            sequences.iter().map(|_| ids.by_ref().take(args.prompt).collect()).collect();
        let chunk = args.model.chunk.unwrap_or(args.prompt);

        let prefill = self.timed(args.batch_size * args.prompt, || {
            let mut next = Vec::new();
            for first in (0..args.prompt).step_by(chunk) {
                let part = first..args.prompt.min(first + chunk);
                let parts = prompts.iter().map(|prompt| &prompt[part.clone()]);
                next = self.step(&mut cache, &sequences, parts)?;
            }
            Ok(next)
        })?;
        let mut next = prefill.1;
        let decode = self.timed(args.batch_size * args.new, || {
            for _ in 0..args.new {
                next = self.step(&mut cache, &sequences, next.chunks(1))?;
            }
            Ok(next)
        })?;
        Ok([prefill.0, decode.0])
    }

    /// The greedy token behind the tokens of each sequence: what decoding waits for.
    fn step<'t>(
        &self,
        cache: &mut PagedCache<B>,
        sequences: &[SequenceId],
        tokens: impl Iterator<Item = &'t [u32]>,
    ) -> Result<Vec<u32>, CommandError> {
        let feeds: Vec<Feed<'_>> = sequences
            .iter()
            .zip(tokens)
            .map(|(&sequence, tokens)| Feed { sequence, tokens })
            .collect();
        let hidden = self.model.forward(cache, &feeds, self.form, &mut ())?;
        let ends = feeds.iter().scan(0, |end, feed| {
            *end += feed.tokens.len();
            Some(*end - 1)
        });
        let backend = self.model.backend();
        let last = backend.select_rows(&hidden, &ends.collect::<Vec<_>>());
        let logits = self.model.logits(&last.map_err(ModelError::from)?)?;
        let best = backend.argmax(&logits).map_err(ModelError::from)?;
        let wrong = || CommandError::Failed("a logit is not a number".into());
        best.into_iter().map(|id| id.ok_or_else(wrong)).collect()
    }

    fn timed(
        &self,
        tokens: usize,
        run: impl FnOnce() -> Result<Vec<u32>, CommandError>,
    ) -> Result<(Phase, Vec<u32>), CommandError> {
        let _ = self.model.backend().take_ledger();
        let start = Instant::now();
        let next = run()?;
        let seconds = start.elapsed().as_secs_f64();
        let ledger = self.model.backend().take_ledger();
        Ok((Phase { tokens, seconds, ledger }, next))
    }
}
