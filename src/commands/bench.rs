//! `latent bench`: how fast a model runs, and what that moves and computes.

mod peaks;
mod report;

use std::time::Instant;

use clap::Args;
use latent_model::mla::{Attend, PagedCache, SequenceId};
use latent_model::moe::Experts;
use latent_model::{Feed, Form, Model, ModelError};

use self::report::{Phase, Report};
use super::model_args::{CacheArgs, ModelArgs, Task, at_least_one};
use super::{CommandError, output, progress};

/// Measure how fast a model reads a prompt and decodes, and print what that moves and computes.
///
/// The tokens are 0, 1, 2, ...: their meaning changes no speed. A phase is run once to warm up, then
/// as often as asked; the median counts. Bytes and operations are counted by backends that keep a
/// ledger (cpu, gpu), from the plans of the kernels, by no counter of the hardware. On a processor
/// the machine's limits are measured first: bytes read and multiply-adds by all threads.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent bench --model DIR
  latent bench --model DIR --backend gpu --prompt 2048 --new 64
  latent bench --model conformance/v3 --backend gpu --device software --prompt 64 --new 8 --json")]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// Tokens of the prompt
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
        let mut cache = self.model.cache_in(args.cache.format(), args.prompt + args.new)?;
        let sequence = cache.new_sequence();
        let vocabulary = self.model.config().vocab_size;
        let tokens: Vec<u32> = (0..)
            .map(|id| id % u32::try_from(vocabulary).unwrap_or(u32::MAX))
            .take(args.prompt)
            .collect();
        let chunk = args.model.chunk.unwrap_or(args.prompt);

        let prefill = self.timed(args.prompt, || {
            let mut next = 0;
            for part in tokens.chunks(chunk) {
                next = self.step(&mut cache, sequence, part)?;
            }
            Ok(next)
        })?;
        let mut next = prefill.1;
        let decode = self.timed(args.new, || {
            for _ in 0..args.new {
                next = self.step(&mut cache, sequence, &[next])?;
            }
            Ok(next)
        })?;
        Ok([prefill.0, decode.0])
    }

    /// The greedy token behind `tokens`: what decoding waits for.
    fn step(
        &self,
        cache: &mut PagedCache<B>,
        sequence: SequenceId,
        tokens: &[u32],
    ) -> Result<u32, CommandError> {
        let feed = Feed { sequence, tokens };
        let hidden = self.model.forward(cache, &[feed], self.form, &mut ())?;
        let logits = self.model.last_logits(&hidden)?;
        let best = self.model.backend().argmax(&logits).map_err(ModelError::from)?;
        best[0].ok_or_else(|| CommandError::Failed("a logit is not a number".into()))
    }

    fn timed(
        &self,
        tokens: usize,
        run: impl FnOnce() -> Result<u32, CommandError>,
    ) -> Result<(Phase, u32), CommandError> {
        let _ = self.model.backend().take_ledger();
        let start = Instant::now();
        let next = run()?;
        let seconds = start.elapsed().as_secs_f64();
        let ledger = self.model.backend().take_ledger();
        Ok((Phase { tokens, seconds, ledger }, next))
    }
}
