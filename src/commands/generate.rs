//! `latent generate`: a prompt in, text or token ids out, as they come.

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::time::Instant;

use clap::Args;
use latent_model::config::ModelConfig;
use latent_model::mla::{Attend, CacheFormat};
use latent_model::moe::Experts;
use latent_model::sampling::{SamplingConfig, StopStrings};
use latent_model::text::{
    ChatTemplate, GenerationConfig, Message, RenderOptions, TextError, Tokenizer,
};
use latent_model::{Finish, GenerateOptions, Generation, Model};

use super::model_args::{CacheArgs, ModelArgs, Task, TokenIds, at_least_one};
use super::{CommandError, output, progress};

/// Continue a prompt or answer a message, streamed to standard output.
///
/// Settings that are not given, stop texts among them, come from the model's
/// generation_config.json. An answer ends at the end-of-text tokens of the first of
/// generation_config.json, config.json and the tokenizer that names any.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent generate --model DIR --prompt \"The capital of France is\"
  latent generate --model DIR --chat \"Why is the sky blue?\" --temperature 0.7 --seed 1
  latent generate --model DIR --system \"Answer in French.\" --chat \"Hello!\"
  latent generate --model conformance/v3 --tokens 5,17,200 --max-new-tokens 16
  echo \"Once upon a time\" | latent generate --model DIR")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    input: Input,
    /// What the model is told before the user's message
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// Largest number of new tokens [default: the model's, else 256]
    #[arg(long, short = 'n', value_name = "N")]
    max_new_tokens: Option<usize>,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on behind the model's end-of-text token
    #[arg(long)]
    ignore_eos: bool,
    /// Prompt and new tokens together [default: as many as needed]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_model_len: Option<usize>,
}

/// What is continued; standard input when none is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct Input {
    /// Text to continue as it is
    #[arg(long, short)]
    prompt: Option<String>,
    /// A user's message, put into the model's chat template
    #[arg(long, short)]
    chat: Option<String>,
    /// Token ids to continue; new ids are printed instead of text
    #[arg(long, short, value_name = "IDS")]
    tokens: Option<TokenIds>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
struct SamplingArgs {
    /// 0 takes the likeliest token
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Keep the K likeliest tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Keep the likeliest tokens that make up this share
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// Keep tokens at least this likely, relative to the likeliest
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f64>,
    /// Above 1: make tokens that were there already less likely
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    repetition_penalty: Option<f64>,
    /// The same seed gives the same text
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl GenerateArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        let dir = self.model.model.as_path();
        // All that can be wrong is said before the weights are read.
        let mut stop = StopStrings::new(self.stop.clone())?;
        let defaults = GenerationConfig::from_dir(dir)?;
        if self.stop.is_empty() {
            stop = StopStrings::new(defaults.stop_strings.clone())?;
        }
        let sampling = self.sampling.over(&defaults)?;
        let (config, _) = ModelConfig::from_dir(dir)?;
        let tokenizer = if self.input.tokens.is_some() { None } else { Some(tokenizer(dir)?) };
        if let Some(tokenizer) = &tokenizer {
            config.check_tokenizer(tokenizer.max_id())?;
        }
        let prompt = self.input.encode(dir, tokenizer.as_ref(), self.system.as_deref())?;
        let wanted = self.max_new_tokens.or(defaults.max_new_tokens).unwrap_or(256);
        let max_len = self.max_model_len.unwrap_or(config.max_position_embeddings);
        let room = max_len.saturating_sub(prompt.len());
        if room == 0 {
            return Err(CommandError::Usage(format!(
                "prompt of {} tokens leaves no room in {max_len}",
                prompt.len()
            )));
        }
        let eos = [
            defaults.eos_token_ids,
            config.eos_token_id,
            tokenizer.as_ref().and_then(Tokenizer::eos_id).into_iter().collect(),
        ];
        let options = GenerateOptions {
            sampling,
            eos_token_ids: if self.ignore_eos { Vec::new() } else { first_given(eos) },
            max_new_tokens: wanted.min(room),
            form: self.model.form(),
            chunk: self.model.chunk,
        };
        let format = self.cache.format();
        self.model.run(Session { tokenizer: tokenizer.as_ref(), stop, format, prompt, options })
    }
}

/// The tokens that end an answer, by the first file that says any.
fn first_given(sources: [Vec<u32>; 3]) -> Vec<u32> {
    sources.into_iter().find(|ids| !ids.is_empty()).unwrap_or_default()
}

fn tokenizer(dir: &Path) -> Result<Tokenizer, CommandError> {
    Tokenizer::from_dir(dir).map_err(|error| match error {
        TextError::Missing { path, .. } => CommandError::NoTokenizer { path },
        error => error.into(),
    })
}

impl SamplingArgs {
    /// The flags, and the model's own settings where a flag is not given.
    fn over(&self, model: &GenerationConfig) -> Result<SamplingConfig, CommandError> {
        let own = model.sampling(self.seed);
        let sampling = SamplingConfig {
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.or(own.top_k),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(own.repetition_penalty),
            ..own
        };
        sampling.validate()?;
        Ok(sampling)
    }
}

impl Input {
    fn encode(
        &self,
        dir: &Path,
        tokenizer: Option<&Tokenizer>,
        system: Option<&str>,
    ) -> Result<Vec<u32>, CommandError> {
        let (Some(tokenizer), None) = (tokenizer, &self.tokens) else {
            return Ok(self.tokens.as_ref().map(|ids| ids.0.clone()).unwrap_or_default());
        };
        if let Some(content) = &self.chat {
            let template = ChatTemplate::from_dir(dir)?.ok_or_else(|| {
                let dir = dir.display();
                CommandError::Usage(format!("{dir} has no chat template; use --prompt"))
            })?;
            let options = RenderOptions { add_generation_prompt: true, ..RenderOptions::default() };
            let system = system.map(|text| Message::new("system", text));
            let messages: Vec<_> =
                system.into_iter().chain([Message::new("user", content)]).collect();
            return Ok(template.encode(tokenizer, &messages, &options)?);
        }
        let text = match &self.prompt {
            Some(text) => text.clone(),
            None => read_stdin()?,
        };
        let bos = tokenizer.bos_id().filter(|_| tokenizer.config().add_bos_token);
        Ok(bos.into_iter().chain(tokenizer.encode(&text)?).collect())
    }
}

fn read_stdin() -> Result<String, CommandError> {
    if io::stdin().is_terminal() {
        return Err(CommandError::Usage(
            "no prompt: give --prompt, --chat or --tokens, or pipe text in".into(),
        ));
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| CommandError::io("standard input".as_ref(), error))?;
    Ok(text.trim_end_matches('\n').into())
}

/// One continuation and where it goes.
struct Session<'a> {
    tokenizer: Option<&'a Tokenizer>,
    stop: StopStrings,
    format: CacheFormat,
    prompt: Vec<u32>,
    options: GenerateOptions,
}

impl Task for Session<'_> {
    fn run<B: Attend + Experts>(mut self, model: &Model<B>) -> Result<(), CommandError> {
        let (prompt, max_new_tokens) = (self.prompt.clone(), self.options.max_new_tokens);
        let mut cache = model.cache_in(self.format, prompt.len() + max_new_tokens)?;
        let sequence = cache.new_sequence();
        let options = self.options.clone();
        let mut generation = Generation::new(model, &mut cache, sequence, &prompt, options)?;

        let start = Instant::now();
        let bar = progress::bar(prompt.len(), "prompt {bar:40} {pos}/{len} tokens, {eta} left");
        generation.prefill(&mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let prefill = start.elapsed();

        let mut out = io::stdout().lock();
        let decode = Instant::now();
        let stopped = self.stream(&mut generation, &mut out)?;
        let new = generation.tokens().len() - prompt.len();
        let reason = match generation.finish() {
            _ if stopped => "stop text".into(),
            Some(Finish::Eos(id)) => format!("end token {id}"),
            Some(Finish::Length) => format!("limit of {max_new_tokens} tokens"),
            None => "end".into(),
        };
        drop(out);
        let seconds = decode.elapsed().as_secs_f64();
        output::remark(format_args!(
            "latent: prompt {} tokens in {:.2} s; {new} new in {seconds:.2} s ({:.1} tok/s); cache {} B; {reason}",
            prompt.len(),
            prefill.as_secs_f64(),
            new as f64 / seconds.max(1e-9),
            cache.bytes(),
        ));
        Ok(())
    }
}

impl Session<'_> {
    /// Prints tokens as they come; whether a stop text ended it.
    fn stream<B: Attend + Experts>(
        &mut self,
        generation: &mut Generation<'_, B>,
        out: &mut impl Write,
    ) -> Result<bool, CommandError> {
        let Some(tokenizer) = self.tokenizer else {
            for (i, token) in generation.enumerate() {
                let comma = if i == 0 { "" } else { "," };
                write!(out, "{comma}{}", token?)?;
                out.flush()?;
            }
            writeln!(out)?;
            return Ok(false);
        };
        let mut decode = tokenizer.stream();
        let mut stopped = false;
        for token in generation {
            let text = self.stop.push(&decode.push(token?)?);
            write!(out, "{text}")?;
            out.flush()?;
            if self.stop.stopped_by().is_some() {
                stopped = true;
                break;
            }
        }
        if !stopped {
            let rest = self.stop.push(&decode.finish());
            write!(out, "{rest}{}", self.stop.finish())?;
        }
        writeln!(out)?;
        Ok(stopped)
    }
}
