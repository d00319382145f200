//! What is kept of a conversation, so that the next answer computes new tokens alone.

use latent_model::mla::{Attend, MlaError, PagedCache, SequenceId};
use latent_model::moe::Experts;
use latent_model::{GenerateOptions, Generation, Model, ModelError};

/// A cache with one sequence, and the tokens in it.
pub(super) struct Memory<B: Attend> {
    cache: PagedCache<B>,
    sequence: SequenceId,
    tokens: Vec<u32>,
}

impl<B: Attend + Experts> Memory<B> {
    pub(super) fn new(mut cache: PagedCache<B>) -> Self {
        let sequence = cache.new_sequence();
        Self { cache, sequence, tokens: Vec::new() }
    }

    /// Goes back to where `prompt` parts from what is kept. Returns how many tokens stay.
    ///
    /// The last token of `prompt` is never among them: what follows is known from computing it.
    pub(super) fn go_back_to(&mut self, prompt: &[u32]) -> Result<usize, MlaError> {
        let before_last = &prompt[..prompt.len().saturating_sub(1)];
        let common = self.tokens.iter().zip(before_last).take_while(|(a, b)| a == b).count();
        self.cache.truncate(self.sequence, common)?;
        self.tokens.truncate(common);
        Ok(common)
    }

    /// The continuation of `prompt`, which begins with what is kept.
    pub(super) fn generation<'a>(
        &'a mut self,
        model: &'a Model<B>,
        prompt: &[u32],
        options: GenerateOptions,
    ) -> Result<Generation<'a, B>, ModelError> {
        Generation::new(model, &mut self.cache, self.sequence, prompt, options)
    }

    /// Notes what is kept now: as many of `tokens`, a prompt and its answer, as were computed.
    pub(super) fn note(&mut self, mut tokens: Vec<u32>) -> Result<(), MlaError> {
        tokens.truncate(self.cache.len(self.sequence)?);
        self.tokens = tokens;
        Ok(())
    }

    /// The bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        self.cache.bytes()
    }
}
