//! `latent generate`: a prompt in, text or token ids out, as they come.

use std::io::{self, IsTerminal, Read};
use std::path::Path;

use clap::Args;
use latent_model::config::ModelConfig;
use latent_model::mla::{Attend, CacheFormat};
use latent_model::moe::Experts;
use latent_model::text::{GenerationConfig, TextError, Tokenizer};
use latent_model::{GenerateOptions, Generation, Model};

use super::answer::Voice;
use super::answer_args::AnswerArgs;
use super::dialogue::Dialogue;
use super::model_args::{CacheArgs, ModelArgs, Task, TokenIds};
use super::{CommandError, output};

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
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    answer: AnswerArgs,
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

impl GenerateArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        // All that can be wrong is said before the weights are read.
        let dir = self.model.model.as_path();
        let (config, _) = ModelConfig::from_dir(dir)?;
        let tokenizer = if self.input.tokens.is_some() { None } else { Some(tokenizer(dir)?) };
        if let Some(tokenizer) = &tokenizer {
            config.check_tokenizer(tokenizer.max_id())?;
        }
        let own = GenerationConfig::from_dir(dir)?;
        let settings = self.answer.over(own, &config, tokenizer.as_ref())?;
        let prompt = self.input.encode(dir, tokenizer.as_ref(), self.system.as_deref())?;
        let options = settings.after(prompt.len(), &self.model).ok_or_else(|| {
            let (len, most) = (prompt.len(), settings.max_model_len);
            CommandError::Usage(format!("prompt of {len} tokens leaves no room in {most}"))
        })?;
        let voice = match &tokenizer {
            None => Voice::Ids,
            Some(tokenizer) => Voice::Text { tokenizer, stop: settings.stop },
        };
        self.model.run(Continuation { voice, format: self.cache.format(), prompt, options })
    }
}

fn tokenizer(dir: &Path) -> Result<Tokenizer, CommandError> {
    Tokenizer::from_dir(dir).map_err(|error| match error {
        TextError::Missing { path, .. } => CommandError::NoTokenizer { path },
        error => error.into(),
    })
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
        if let Some(message) = &self.chat {
            return Ok(Dialogue::with(dir, system, "--prompt")?.prompt(tokenizer, message)?);
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

/// One continuation and what it is written in.
struct Continuation<'a> {
    voice: Voice<'a>,
    format: CacheFormat,
    prompt: Vec<u32>,
    options: GenerateOptions,
}

impl Task for Continuation<'_> {
    fn run<B: Attend + Experts>(self, model: &Model<B>) -> Result<(), CommandError> {
        let most = self.prompt.len() + self.options.max_new_tokens;
        let mut cache = model.cache_in(self.format, most)?;
        let sequence = cache.new_sequence();
        let generation = Generation::new(model, &mut cache, sequence, &self.prompt, self.options)?;
        let answer = self.voice.answer(generation, &|| false)?;
        output::remark(answer.account(None, cache.bytes()));
        Ok(())
    }
}
