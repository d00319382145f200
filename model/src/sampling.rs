//! From logits to the next token.
//!
//! The steps run in the order of transformers: repetition penalty, temperature, top-k, top-p,
//! min-p, draw. Arithmetic is f64 whatever the logits are in.
//!
//! The number drawn at a position follows from the seed and the position alone, so that neither
//! batch mates, nor a resumed run, nor the way a prompt was cut change it.

mod config;
mod error;
pub mod filters;
mod stop;

use latent_kernels::Scalar;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use config::SamplingConfig;
pub use error::SamplingError;
pub use stop::{MAX_STOP_BYTES, MAX_STOPS, StopStrings};

use filters::Candidate;

/// Chooses tokens by a [`SamplingConfig`].
///
/// ```
/// use latent_model::sampling::{Sampler, SamplingConfig};
/// let mut greedy = Sampler::new(SamplingConfig::default())?;
/// assert_eq!(greedy.next(&[0.0_f32, 3.0, 3.0], &[])?, 1);
/// # Ok::<(), latent_model::sampling::SamplingError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Sampler {
    config: SamplingConfig,
    logits: Vec<f64>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler by `config`.
    ///
    /// # Errors
    /// [`SamplingError::Setting`] when a setting is outside of its range.
    pub fn new(config: SamplingConfig) -> Result<Self, SamplingError> {
        config.validate()?;
        Ok(Self { config, logits: Vec::new(), candidates: Vec::new() })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &SamplingConfig {
        &self.config
    }

    /// The token that follows `previous`, all tokens of the sequence so far, prompt included: their
    /// number is the position that the draw belongs to.
    ///
    /// # Shapes
    /// - `logits`: `[vocab]`; `-inf` is a token that must not be chosen
    ///
    /// At temperature 0 the largest logit wins, ties go to the lowest id.
    ///
    /// # Errors
    /// [`SamplingError::Logit`] for NaN or positive infinity, [`SamplingError::NoCandidate`] when
    /// there is no logit above `-inf`, [`SamplingError::Previous`] for an id without a logit.
    pub fn next<T: Scalar>(
        &mut self,
        logits: &[T],
        previous: &[u32],
    ) -> Result<u32, SamplingError> {
        self.take(logits, previous)?;
        let SamplingConfig { temperature, top_k, top_p, min_p, repetition_penalty, .. } =
            self.config;
        filters::penalize_repetition(&mut self.logits, previous, repetition_penalty);
        let best = argmax(&self.logits);
        if temperature == 0.0 {
            return Ok(best);
        }
        let max = self.logits[best as usize];
        let scaled = self.logits.iter().map(|x| (x - max) / temperature);
        self.candidates.clear();
        self.candidates.extend((0..).zip(scaled).map(|(id, logit)| Candidate { id, logit }));
        if top_k.is_some() || top_p < 1.0 || min_p > 0.0 {
            filters::keep_top_k(&mut self.candidates, top_k.unwrap_or(usize::MAX));
            filters::keep_top_p(&mut self.candidates, top_p);
            filters::keep_min_p(&mut self.candidates, min_p);
        }
        let u = self.draw(previous.len());
        let chosen = filters::pick(&filters::probabilities(&self.candidates), u);
        Ok(chosen.map_or(best, |i| self.candidates[i].id))
    }

    /// The number of `[0, 1)` that a token at `position` is drawn by.
    #[must_use]
    pub fn draw(&self, position: usize) -> f64 {
        uniform(self.config.seed, position)
    }

    /// Checks the arguments and widens the logits.
    fn take<T: Scalar>(&mut self, logits: &[T], previous: &[u32]) -> Result<(), SamplingError> {
        self.logits.clear();
        self.logits.extend(logits.iter().map(|x| x.as_f64()));
        let bad = |x: &f64| x.is_nan() || *x == f64::INFINITY;
        if let Some(id) = self.logits.iter().position(bad) {
            return Err(SamplingError::Logit { id, found: self.logits[id] });
        }
        if self.logits.iter().all(|x| x.is_infinite()) {
            return Err(SamplingError::NoCandidate { found: logits.len() });
        }
        match previous.iter().find(|&&id| id as usize >= logits.len()) {
            Some(&found) => Err(SamplingError::Previous { found, limit: logits.len() }),
            None => Ok(()),
        }
    }
}

/// The index of the largest logit, ties to the lowest; 0 of none.
fn argmax(logits: &[f64]) -> u32 {
    let mut best = (0, f64::NEG_INFINITY);
    for (id, &x) in (0..).zip(logits) {
        if x > best.1 {
            best = (id, x);
        }
    }
    best.0
}

/// The number of `[0, 1)` that belongs to `position` under `seed`: words `2 position` and
/// `2 position + 1` of the ChaCha8 stream, the upper 53 bits.
fn uniform(seed: u64, position: usize) -> f64 {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_word_pos(2 * position as u128);
    (stream.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
