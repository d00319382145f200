//! `latent perplexity`: how well a model predicts a text.

mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use latent_model::Model;
use latent_model::config::ModelConfig;
use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::perplexity::{PerplexityError, PerplexityOptions, perplexity};
use latent_model::text::Tokenizer;

use self::report::Report;
use super::model_args::{CacheArgs, ModelArgs, Task};
use super::{CommandError, output, progress};

/// The tokens of a window where none are asked for.
const WINDOW: usize = 1024;

/// Measure how well a model predicts a text: its perplexity.
///
/// The text is cut into windows that do not overlap. Each begins with the token that opens a text,
/// where the model's tokenizer asks for one. A window's first token is given; of every other one
/// -ln p is taken, given those before it in its window.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent perplexity --model DIR --text FILE
  latent perplexity --model DIR --text FILE --max-tokens 4096 --kv-cache-dtype bf16
  latent perplexity --model DIR --text FILE --window 512 --dtype int8 --json")]
pub(crate) struct PerplexityArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    cache: CacheArgs,
    /// The text, in UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens that see one another [default: 1024, or the model's context where that is less]
    #[arg(long, value_name = "N", value_parser = at_least_two)]
    window: Option<usize>,
    /// Score the first N tokens of the text alone
    #[arg(long, value_name = "N", value_parser = at_least_two)]
    max_tokens: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses a count of at least 2: the least that holds a prediction.
fn at_least_two(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0 | 1) => Err("want at least 2".into()),
        Ok(n) => Ok(n),
        Err(error) => Err(format!("{error}")),
    }
}

impl PerplexityArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        // All that can be wrong is said before the weights are read.
        let dir = self.model.dir()?;
        let (config, _) = ModelConfig::from_dir(dir)?;
        let tokenizer = Tokenizer::from_dir(dir)?;
        config.check_tokenizer(tokenizer.max_id())?;
        let mut tokens = tokenizer.encode(&read(&self.text)?)?;
        tokens.truncate(self.max_tokens.unwrap_or(usize::MAX));
        let options = PerplexityOptions {
            window: self.window.unwrap_or(WINDOW.min(config.max_position_embeddings)),
            bos: tokenizer.bos_id().filter(|_| tokenizer.config().add_bos_token),
            form: self.model.form(),
            format: self.cache.format(),
            chunk: self.model.chunk,
        };
        options.validate(&config, tokens.len()).map_err(|error| match error {
            PerplexityError::TooShort { .. } => {
                CommandError::io(&self.text, std::io::Error::other(error))
            }
            error => error.into(),
        })?;
        let json = self.json;
        self.model.run(Scoring { tokenizer: &tokenizer, tokens: &tokens, options, json })
    }
}

fn read(path: &Path) -> Result<String, CommandError> {
    let bytes = fs::read(path).map_err(|error| CommandError::io(path, error))?;
    String::from_utf8(bytes)
        .map_err(|error| CommandError::io(path, std::io::Error::other(error.utf8_error())))
}

/// A text to be scored.
struct Scoring<'a> {
    tokenizer: &'a Tokenizer,
    tokens: &'a [u32],
    options: PerplexityOptions,
    json: bool,
}

impl Task for Scoring<'_> {
    fn run<B: Attend + Experts>(self, model: &Model<B>) -> Result<(), CommandError> {
        let start = Instant::now();
        let bar = progress::bar(self.tokens.len(), "{bar:40} {pos}/{len} tokens, {eta} left");
        let found = perplexity(model, self.tokens, &self.options, &mut |done| {
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        let seconds = start.elapsed().as_secs_f64();
        let mut bytes = 0;
        for score in &found.scores {
            bytes += self.tokenizer.token_bytes(self.tokens[score.position])?.len();
        }
        let (backend, options, tokens) = (model.backend().name(), self.options, self.tokens.len());
        let report = Report { backend, options, tokens, bytes, seconds, found };
        output::print(&if self.json { report.json() } else { report.table() })
    }
}
