//! `latent chat`: a conversation with a model, line by line.

mod conversation;
mod lines;
mod memory;
mod request;

use clap::Args;
use latent_model::Model;
use latent_model::config::ModelConfig;
use latent_model::mla::{Attend, CacheFormat};
use latent_model::moe::Experts;
use latent_model::text::{GenerationConfig, Tokenizer};

use self::conversation::Conversation;
use self::lines::Lines;
use self::request::{HELP, Request};
use super::answer_args::{AnswerArgs, AnswerSettings};
use super::dialogue::Dialogue;
use super::interrupt::Interrupt;
use super::model_args::{CacheArgs, ModelArgs, Task};
use super::{CommandError, output};

/// Talk with a model: each line is a message, and its answer is streamed to standard output.
///
/// An answer knows what was said before, as far as the model's chat template lets it; what the cache
/// holds of that is not computed again. /help says which lines are commands. In a terminal, Ctrl-C ends
/// the answer that is being written, and Ctrl-D the chat. Elsewhere nothing but answers is on standard
/// output, and a line that is refused makes the exit code 1 in the end.
///
/// Settings that are not given, stop texts among them, come from the model's
/// generation_config.json. An answer ends at the end-of-text tokens of the first of
/// generation_config.json, config.json and the tokenizer that names any.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  latent chat --model DIR
  latent chat --model DIR --system \"Answer in French.\" --temperature 0.7 --seed 1
  latent chat --model DIR --max-new-tokens 4096 --kv-cache-dtype bf16
  printf 'Why is the sky blue?\\nAnd at night?\\n' | latent chat --model DIR")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// What the model is told before the first message
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    answer: AnswerArgs,
}

impl ChatArgs {
    pub(crate) fn run(self) -> Result<(), CommandError> {
        // All that can be wrong is said before the weights are read.
        let dir = self.model.model.as_path();
        let (config, _) = ModelConfig::from_dir(dir)?;
        let tokenizer = Tokenizer::from_dir(dir)?;
        config.check_tokenizer(tokenizer.max_id())?;
        let own = GenerationConfig::from_dir(dir)?;
        let settings = self.answer.over(own, &config, Some(&tokenizer))?;
        let dialogue = Dialogue::with(dir, self.system.as_deref(), "latent generate --prompt")?;
        let (args, format) = (&self.model, self.cache.format());
        args.run(Chat { args, format, tokenizer: &tokenizer, settings, dialogue })
    }
}

/// A conversation that waits for its model.
struct Chat<'a> {
    args: &'a ModelArgs,
    format: CacheFormat,
    tokenizer: &'a Tokenizer,
    settings: AnswerSettings,
    dialogue: Dialogue,
}

impl Task for Chat<'_> {
    fn run<B: Attend + Experts>(self, model: &Model<B>) -> Result<(), CommandError> {
        let mut conversation = Conversation::new(model, self)?;
        let interrupt = Interrupt::default();
        let mut lines = Lines::open(&interrupt)?;
        let mut refused = 0_usize;
        while let Some(line) = lines.read()? {
            let mut refusal = None;
            match Request::of(&line) {
                Ok(Request::Nothing) => {}
                Ok(Request::Message(text)) => {
                    refusal = interrupt.during(|asked| conversation.say(text, asked))?;
                }
                Ok(Request::Clear) => conversation.clear(),
                Ok(Request::System(text)) => conversation.set_system(text),
                Ok(Request::Help) => output::remark(HELP),
                Ok(Request::Exit) => break,
                Err(why) => refusal = Some(why),
            }
            if let Some(why) = refusal {
                output::remark(format_args!("error: {why}"));
                refused += 1;
            }
        }
        // Who sits at a terminal has seen it.
        if refused > 0 && matches!(lines, Lines::Pipe(_)) {
            return Err(CommandError::Failed(format!("lines that were refused: {refused}")));
        }
        Ok(())
    }
}
