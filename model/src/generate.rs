//! Decoding one token after another.

use latent_mla::{Attend, Form, PagedCache, SequenceId};
use latent_moe::Experts;

use crate::sampling::{Sampler, SamplingConfig};
use crate::{Feed, Model, ModelError};

/// How a continuation is made.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// How each token is chosen.
    pub sampling: SamplingConfig,
    /// Tokens that end the continuation; the one that ends it is not returned.
    pub eos_token_ids: Vec<u32>,
    /// The largest number of tokens to return.
    pub max_new_tokens: usize,
    /// How attention is computed.
    pub form: Form,
    /// The number of prompt tokens per forward pass; `None` takes the prompt as a whole. With a
    /// fixed `form` it changes memory and speed, never a bit.
    pub chunk: Option<usize>,
}

/// Why a continuation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model ended it with this token.
    Eos(u32),
    /// `max_new_tokens` were returned.
    Length,
}

/// A continuation in the making: an iterator over its tokens.
///
/// It ends at an error, with [`finish`](Self::finish) still `None`.
#[derive(Debug)]
pub struct Generation<'a, B: Attend + Experts> {
    model: &'a Model<B>,
    cache: &'a mut PagedCache<B>,
    sequence: SequenceId,
    sampler: Sampler,
    options: GenerateOptions,
    /// Prompt and continuation.
    tokens: Vec<u32>,
    /// The number of `tokens` whose keys and values are in the cache.
    fed: usize,
    prompt_len: usize,
    finish: Option<Finish>,
    failed: bool,
}

impl<'a, B: Attend + Experts> Generation<'a, B> {
    /// A continuation of `prompt` in an empty or forked `sequence` of `cache`.
    ///
    /// Tokens that the sequence holds already must be the beginning of `prompt`; they are not
    /// computed again.
    ///
    /// # Errors
    /// [`ModelError::Empty`] for a prompt with nothing new in it, [`ModelError::Sampling`] for
    /// settings outside of their range.
    pub fn new(
        model: &'a Model<B>,
        cache: &'a mut PagedCache<B>,
        sequence: SequenceId,
        prompt: &[u32],
        options: GenerateOptions,
    ) -> Result<Self, ModelError> {
        let fed = cache.len(sequence)?;
        if prompt.len() <= fed {
            return Err(ModelError::Empty("prompt"));
        }
        let sampler = Sampler::new(options.sampling)?;
        let (tokens, prompt_len) = (prompt.to_vec(), prompt.len());
        let (finish, failed) = (None, false);
        Ok(Self {
            model,
            cache,
            sequence,
            sampler,
            options,
            tokens,
            fed,
            prompt_len,
            finish,
            failed,
        })
    }

    /// Why the continuation ended, once it has.
    pub fn finish(&self) -> Option<Finish> {
        self.finish
    }

    /// The prompt and the tokens returned so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Computes the prompt, if that is still to be done: the work before the first token.
    ///
    /// `progress` is called with the number of prompt tokens done after each forward pass.
    ///
    /// # Errors
    /// [`ModelError`] of the forward pass.
    pub fn prefill(&mut self, progress: &mut dyn FnMut(usize)) -> Result<(), ModelError> {
        let chunk = self.options.chunk.unwrap_or(usize::MAX).max(1);
        // The last token is left to the step that wants its logits.
        while self.fed + 1 < self.prompt_len {
            let end = self.fed.saturating_add(chunk).min(self.prompt_len - 1);
            self.feed(end)?;
            progress(self.fed);
        }
        Ok(())
    }

    fn feed(&mut self, end: usize) -> Result<B::Tensor, ModelError> {
        let feed = Feed { sequence: self.sequence, tokens: &self.tokens[self.fed..end] };
        let hidden = self.model.forward(self.cache, &[feed], self.options.form, &mut ())?;
        self.fed = end;
        Ok(hidden)
    }

    fn advance(&mut self) -> Result<Option<u32>, ModelError> {
        if self.tokens.len() - self.prompt_len >= self.options.max_new_tokens {
            self.finish = Some(Finish::Length);
            return Ok(None);
        }
        self.prefill(&mut |_| ())?;
        let hidden = self.feed(self.tokens.len())?;
        let logits = self.model.last_logits(&hidden)?;
        let token = self.choose(&logits)?;
        if self.options.eos_token_ids.contains(&token) {
            self.finish = Some(Finish::Eos(token));
            return Ok(None);
        }
        self.tokens.push(token);
        Ok(Some(token))
    }
}

impl<B: Attend + Experts> Generation<'_, B> {
    /// The token that follows, by `logits` `[1, vocab]`.
    fn choose(&mut self, logits: &B::Tensor) -> Result<u32, ModelError> {
        let backend = self.model.backend();
        let config = self.sampler.config();
        // What needs no filter is chosen where the logits are. Where nothing can be chosen, the
        // sampler says why.
        let chosen = if config.is_greedy() {
            backend.argmax(logits)?
        } else if config.is_unfiltered() {
            backend.draw(logits, config.temperature, &[self.sampler.draw(self.tokens.len())])?
        } else {
            Vec::new()
        };
        if let Some(&Some(token)) = chosen.first() {
            return Ok(token);
        }
        Ok(self.sampler.next(&backend.download(logits)?, &self.tokens)?)
    }
}

impl<B: Attend + Experts> Iterator for Generation<'_, B> {
    type Item = Result<u32, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.finish.is_some() {
            return None;
        }
        let next = self.advance();
        self.failed = next.is_err();
        next.transpose()
    }
}
