//! Many continuations at once, with the probability of each of their tokens.

use std::sync::Mutex;

use latent_model::mla::{AttendBackward, PAGE_TOKENS, PagedCache, SequenceId};
use latent_model::moe::ExpertsBackward;
use latent_model::sampling::{Sampler, SamplingConfig};
use latent_model::{Feed, Form, Model, ModelError};
use rand::Rng;

use crate::random::{Use, stream};
use crate::routes::Routes;
use crate::team::{held, on_each};

/// How continuations are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct RolloutConfig {
    /// How many continuations a prompt gets.
    pub num_generations: usize,
    /// The most tokens of a continuation, the one that ends it included.
    pub max_completion_length: usize,
    /// What logits are divided by, `0..=100`; at 0 the largest wins, and probabilities are those of 1.
    pub temperature: f64,
    /// The tokens that end a continuation.
    pub eos_token_ids: Vec<u32>,
    /// How many continuations of a model go on at once. It changes speed and memory, never a token.
    pub batch_size: usize,
    /// How latent attention is computed.
    pub form: Form,
    /// Whether the experts of each token are told, for which the model waits at each layer.
    pub experts: bool,
    /// What all draws follow from.
    pub seed: u64,
}

/// A continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Continuation {
    /// Which prompt it belongs to.
    pub prompt: usize,
    /// Which of the prompt's continuations it is.
    pub member: usize,
    /// Its tokens, the one that ended it included.
    pub tokens: Vec<u32>,
    /// The natural logarithm of each token's probability when it was drawn.
    pub logps: Vec<f64>,
    /// The experts that each token went to, layer by layer: those of the prompt's tokens and of its own but the
    /// last, which no layer saw. Empty where they were not asked for.
    pub experts: Vec<Vec<usize>>,
    /// Whether it ended by itself; if not, it is as long as it may be.
    pub ended: bool,
}

/// Draws `num_generations` continuations of each prompt, in the order of the prompts.
///
/// A prompt is computed once, and its continuations begin with its pages of the cache. Where one ends, the
/// next takes its place at once. Every continuation has draws of its own, by the seed, its prompt's place and
/// its own, and no token depends on what else is computed beside it: the result is the same for any
/// `batch_size`, bit for bit.
///
/// `models` are one model on as many backends as are to work, each on a thread of its own: which of them
/// computes a prompt changes no bit either.
///
/// # Errors
/// [`ModelError::Empty`] for a prompt without tokens, [`ModelError::Sampling`] for a temperature out of its
/// range, and those of the model.
///
/// # Panics
/// When there is no model.
pub fn rollout<B: AttendBackward + ExpertsBackward>(
    models: &[Model<B>],
    prompts: &[Vec<u32>],
    config: &RolloutConfig,
) -> Result<Vec<Continuation>, ModelError> {
    assert!(!models.is_empty(), "want at least one model");
    if config.max_completion_length == 0 {
        return Ok(Vec::new());
    }
    let room = config.room(prompts);
    let waiting = Mutex::new(prompts.iter().enumerate());
    let next = || held(&waiting).next();
    let found = on_each(models, |model| {
        let found = Work::new(model, config, room).and_then(|work| work.run(&next));
        if found.is_err() {
            held(&waiting).by_ref().for_each(drop);
        }
        found
    });
    let found: Vec<_> = found.into_iter().collect::<Result<_, _>>()?;
    let mut done: Vec<Continuation> = found.into_iter().flatten().collect();
    done.sort_by_key(|continuation| (continuation.prompt, continuation.member));
    Ok(done)
}

impl RolloutConfig {
    /// The tokens that a cache must have room for, whole pages counted.
    fn room(&self, prompts: &[Vec<u32>]) -> usize {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let pages = |tokens: usize| tokens.div_ceil(PAGE_TOKENS) + 1;
        let running = self.batch_size.max(1) * pages(longest + self.max_completion_length);
        PAGE_TOKENS * (running + pages(longest))
    }

    /// What probabilities are of.
    fn counted_temperature(&self) -> f64 {
        if self.temperature > 0.0 { self.temperature } else { 1.0 }
    }

    /// How the tokens of a continuation are chosen.
    fn sampling(&self, prompt: usize, member: usize) -> SamplingConfig {
        let index = prompt as u128 | (member as u128) << 64;
        let seed = stream(self.seed, Use::Continuation, index).next_u64();
        SamplingConfig { temperature: self.temperature, seed, ..SamplingConfig::default() }
    }
}

struct Work<'a, B: AttendBackward + ExpertsBackward> {
    model: &'a Model<B>,
    config: &'a RolloutConfig,
    cache: PagedCache<B>,
    running: Vec<Running>,
    /// The prompt whose continuations are beginning.
    prompt: Option<Prompt>,
}

/// A prompt in the cache, but for its last token: its continuations begin with that.
struct Prompt {
    index: usize,
    tokens: Vec<u32>,
    sequence: SequenceId,
    /// Where its tokens went, but for the last.
    experts: Vec<Vec<usize>>,
    /// How many continuations have begun.
    begun: usize,
}

/// A continuation that goes on.
struct Running {
    sequence: SequenceId,
    sampler: Sampler,
    /// Prompt and continuation; the last is not in the cache.
    tokens: Vec<u32>,
    continuation: Continuation,
}

impl<'a, B: AttendBackward + ExpertsBackward> Work<'a, B> {
    fn new(
        model: &'a Model<B>,
        config: &'a RolloutConfig,
        room: usize,
    ) -> Result<Self, ModelError> {
        let cache = model.cache(room)?;
        Ok(Self { model, config, cache, running: Vec::new(), prompt: None })
    }

    /// Continues prompts as long as there is a `next` one.
    fn run<'p>(
        mut self,
        next: &impl Fn() -> Option<(usize, &'p Vec<u32>)>,
    ) -> Result<Vec<Continuation>, ModelError> {
        let mut done = Vec::new();
        loop {
            while self.running.len() < self.config.batch_size.max(1) && self.begin(next)? {}
            if self.running.is_empty() {
                return Ok(done);
            }
            self.step(&mut done)?;
        }
    }

    /// Begins a continuation; `false` where there is none left.
    fn begin<'p>(
        &mut self,
        next: &impl Fn() -> Option<(usize, &'p Vec<u32>)>,
    ) -> Result<bool, ModelError> {
        if let Some(prompt) = self.prompt.take_if(|p| p.begun >= self.config.num_generations) {
            self.cache.release(prompt.sequence)?;
        }
        let prompt = match &mut self.prompt {
            Some(prompt) => prompt,
            None => {
                let Some((index, tokens)) = next() else { return Ok(false) };
                let prompt = self.read(index, tokens)?;
                self.prompt.insert(prompt)
            }
        };
        if prompt.begun >= self.config.num_generations {
            return Ok(false);
        }
        let (index, member) = (prompt.index, prompt.begun);
        prompt.begun += 1;
        self.running.push(Running {
            sequence: self.cache.fork(prompt.sequence)?,
            sampler: Sampler::new(self.config.sampling(index, member))?,
            tokens: prompt.tokens.clone(),
            continuation: Continuation {
                prompt: index,
                member,
                tokens: Vec::new(),
                logps: Vec::new(),
                experts: prompt.experts.clone(),
                ended: false,
            },
        });
        Ok(true)
    }

    /// Puts a prompt into the cache.
    fn read(&mut self, index: usize, tokens: &[u32]) -> Result<Prompt, ModelError> {
        let Some((_, before)) = tokens.split_last() else {
            return Err(ModelError::Empty("prompt"));
        };
        let sequence = self.cache.new_sequence();
        let mut experts = Vec::new();
        if !before.is_empty() {
            (_, experts) = self.forward(&[Feed { sequence, tokens: before }])?;
        }
        Ok(Prompt { index, tokens: tokens.to_vec(), sequence, experts, begun: 0 })
    }

    /// The hidden states of tokens, and where these went if that is asked for.
    fn forward(&mut self, feeds: &[Feed<'_>]) -> Result<(B::Tensor, Vec<Vec<usize>>), ModelError> {
        let (model, form) = (self.model, self.config.form);
        if !self.config.experts {
            return Ok((model.forward(&mut self.cache, feeds, form, &mut ())?, Vec::new()));
        }
        let mut routes = Routes::new(model);
        let hidden = model.forward(&mut self.cache, feeds, form, &mut routes)?;
        Ok((hidden, routes.tokens().collect()))
    }

    /// One more token for each continuation; those that end are moved to `done`.
    fn step(&mut self, done: &mut Vec<Continuation>) -> Result<(), ModelError> {
        let (config, backend) = (self.config, self.model.backend());
        let last = |run: &Running| [run.tokens[run.tokens.len() - 1]];
        let last: Vec<(SequenceId, [u32; 1])> =
            self.running.iter().map(|run| (run.sequence, last(run))).collect();
        let feeds: Vec<Feed<'_>> =
            last.iter().map(|(sequence, tokens)| Feed { sequence: *sequence, tokens }).collect();
        let (hidden, experts) = self.forward(&feeds)?;
        for (run, experts) in self.running.iter_mut().zip(experts) {
            run.continuation.experts.push(experts);
        }
        let logits = self.model.logits(&hidden)?;
        let rows = backend.download(&logits)?;
        let vocab = self.model.config().vocab_size;
        let mut chosen = Vec::with_capacity(self.running.len());
        for (run, row) in self.running.iter_mut().zip(rows.chunks_exact(vocab)) {
            chosen.push(run.sampler.next(row, &run.tokens)?);
        }
        let logps = self.model.log_probs_of(logits, &chosen, config.counted_temperature())?;
        for ((run, &token), logp) in self.running.iter_mut().zip(&chosen).zip(logps) {
            run.tokens.push(token);
            run.continuation.tokens.push(token);
            run.continuation.logps.push(logp);
            run.continuation.ended = config.eos_token_ids.contains(&token);
        }
        let ends = |run: &mut Running| {
            run.continuation.ended || run.continuation.tokens.len() >= config.max_completion_length
        };
        for run in self.running.extract_if(.., ends) {
            self.cache.release(run.sequence)?;
            done.push(run.continuation);
        }
        Ok(())
    }
}
