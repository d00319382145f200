//! The flags of every subcommand that lets a model answer, over what the model's makers set.

use clap::Args;
use latent_model::GenerateOptions;
use latent_model::config::ModelConfig;
use latent_model::sampling::{SamplingConfig, StopStrings};
use latent_model::text::{GenerationConfig, Tokenizer};

use super::CommandError;
use super::model_args::{ModelArgs, at_least_one};

/// How an answer is made, and where it ends.
#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    /// Largest number of new tokens [default: the model's, else 256]
    #[arg(long, short = 'n', value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Prompt and new tokens together [default: the model's max_position_embeddings]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    max_model_len: Option<usize>,
    /// Stop before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Go on behind the model's end-of-text token
    #[arg(long)]
    ignore_eos: bool,
    #[command(flatten)]
    sampling: SamplingArgs,
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

/// The flags, and the model's own settings where a flag is not given.
#[derive(Debug)]
pub(crate) struct AnswerSettings {
    /// The texts that an answer ends before.
    pub(crate) stop: StopStrings,
    /// The most tokens that are kept of a prompt and its answer.
    pub(crate) max_model_len: usize,
    sampling: SamplingConfig,
    eos_token_ids: Vec<u32>,
    max_new_tokens: usize,
}

impl AnswerArgs {
    /// The settings for the model of `config`; `own` are those of its makers.
    pub(crate) fn over(
        self,
        own: GenerationConfig,
        config: &ModelConfig,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<AnswerSettings, CommandError> {
        let sampling = self.sampling.over(&own)?;
        let stop = if self.stop.is_empty() { own.stop_strings } else { self.stop };
        let eos = [
            own.eos_token_ids,
            config.eos_token_id.clone(),
            tokenizer.and_then(Tokenizer::eos_id).into_iter().collect(),
        ];
        Ok(AnswerSettings {
            stop: StopStrings::new(stop)?,
            max_model_len: self.max_model_len.unwrap_or(config.max_position_embeddings),
            sampling,
            eos_token_ids: if self.ignore_eos { Vec::new() } else { first_given(eos) },
            max_new_tokens: self.max_new_tokens.or(own.max_new_tokens).unwrap_or(256),
        })
    }
}

/// The tokens that end an answer, by the first file that says any.
fn first_given(sources: [Vec<u32>; 3]) -> Vec<u32> {
    sources.into_iter().find(|ids| !ids.is_empty()).unwrap_or_default()
}

impl SamplingArgs {
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

impl AnswerSettings {
    /// How the answer to a prompt of `len` tokens is made by `model`; `None` when there is no room for one.
    pub(crate) fn after(&self, len: usize, model: &ModelArgs) -> Option<GenerateOptions> {
        let room = self.max_model_len.checked_sub(len).filter(|&room| room > 0)?;
        Some(GenerateOptions {
            sampling: self.sampling,
            eos_token_ids: self.eos_token_ids.clone(),
            max_new_tokens: self.max_new_tokens.min(room),
            form: model.form(),
            chunk: model.chunk,
        })
    }
}
