//! How well a model predicts a text.

mod report;

use latent_kernels::Scalar;
use latent_mla::{Attend, CacheFormat, Form, PagedCache};
use latent_moe::Experts;

pub use self::report::{Perplexity, TokenScore};
use crate::config::ModelConfig;
use crate::logits::in_parts;
use crate::{Feed, Model, ModelError};

/// How a text is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerplexityOptions {
    /// The tokens that see one another, `bos` among them: 2 to the model's context.
    pub window: usize,
    /// The token that every window begins with; `None` begins with the text.
    pub bos: Option<u32>,
    /// How attention is computed.
    pub form: Form,
    /// How keys and values are cached.
    pub format: CacheFormat,
    /// The number of tokens per forward pass; `None` takes a window as a whole. With a fixed
    /// `form` it changes memory and speed, never a bit.
    pub chunk: Option<usize>,
}

/// Why a text cannot be scored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PerplexityError {
    /// A window is too short for a prediction, or longer than the model's context.
    #[error("window: must be 2 to {context} tokens (the model's context), got {found}")]
    Window {
        /// Its tokens.
        found: usize,
        /// `max_position_embeddings`.
        context: usize,
    },
    /// Nothing in the text is predicted from something before it.
    #[error("{found} token(s) with the one that opens a text, want at least 2")]
    TooShort {
        /// The tokens, the one that opens the text among them.
        found: usize,
    },
    /// The model's prediction of a token is not made of numbers.
    #[error("logits of the token at position {position}: token id {id} has {found}, want a number")]
    NotFinite {
        /// The position in the text of the token to be predicted, from 0.
        position: usize,
        /// The id whose logit it is, the lowest.
        id: usize,
        /// NaN or an infinity.
        found: f64,
    },
}

impl PerplexityOptions {
    /// Proves that a text of `tokens` tokens can be scored by a model of `config`.
    ///
    /// # Errors
    /// [`PerplexityError::Window`] and [`PerplexityError::TooShort`].
    pub fn validate(&self, config: &ModelConfig, tokens: usize) -> Result<(), PerplexityError> {
        let (found, context) = (self.window, config.max_position_embeddings);
        if found < 2 || found > context {
            return Err(PerplexityError::Window { found, context });
        }
        match tokens + self.opening() {
            found @ (0 | 1) => Err(PerplexityError::TooShort { found }),
            _ => Ok(()),
        }
    }

    /// The tokens of a window that are not of the text.
    fn opening(&self) -> usize {
        usize::from(self.bos.is_some())
    }
}

/// Scores `tokens` by `-ln p` of each, given those before it in its window.
///
/// The text is cut into windows that do not overlap; the last may be shorter. A window's first
/// token is given, every other one is scored: with `bos` all of the text, without it all but one
/// token a window. Logits are held for 128 rows at most, and `chunk`; `-ln p` is taken in `f64` by a
/// log-sum-exp that is shifted by the largest logit. `progress` is called with the number of text
/// tokens that are done, after each forward pass.
///
/// ```
/// use latent_model::kernels::Reference;
/// use latent_model::perplexity::{PerplexityOptions, perplexity};
/// use latent_model::{Form, LoadOptions, Model};
///
/// let dir = "../conformance/llama".as_ref(); // random weights, 144 tokens
/// let (model, _) = Model::load(Reference::<f64>::new(), dir, &LoadOptions::default())?;
/// let options = PerplexityOptions {
///     window: 4,
///     bos: Some(0),
///     form: Form::Expanded,
///     format: Default::default(),
///     chunk: None,
/// };
/// let found = perplexity(&model, &[5, 17, 100, 8], &options, &mut |_| ())?;
/// assert_eq!((found.scores.len(), found.windows), (4, 2)); // [0, 5, 17, 100], [0, 8]
/// assert!(found.perplexity() > 1.0);
/// # Ok::<(), latent_model::ModelError>(())
/// ```
///
/// # Shapes
/// - `tokens`: `[token]`, without `bos`
/// - the scores: one for each token that is scored, in the order of the text
///
/// # Errors
/// [`PerplexityError`] for a window or a text that cannot be scored and for a logit that is NaN or
/// infinite, [`ModelError::Token`] for an id outside of the vocabulary,
/// [`ModelError::Attention`] for a format that cannot store what the model caches, or the error of
/// the forward pass.
pub fn perplexity<B: Attend + Experts>(
    model: &Model<B>,
    tokens: &[u32],
    options: &PerplexityOptions,
    progress: &mut dyn FnMut(usize),
) -> Result<Perplexity, ModelError> {
    options.validate(model.config(), tokens.len())?;
    let vocab_size = model.config().vocab_size;
    if let Some(&id) = tokens.iter().chain(&options.bos).find(|&&id| id as usize >= vocab_size) {
        return Err(ModelError::Token { id, vocab_size });
    }
    let opening = options.opening();
    let length = options.window.min(tokens.len() + opening);
    let mut cache = model.cache_in(options.format, length)?;
    let mut found = Perplexity::default();
    for (window, text) in tokens.chunks(options.window - opening).enumerate() {
        let position = window * (options.window - opening) + 1 - opening;
        let tokens: Vec<u32> = options.bos.into_iter().chain(text.iter().copied()).collect();
        score(model, &mut cache, &tokens, position, options, &mut found.scores, progress)?;
        found.windows += 1;
    }
    Ok(found)
}

/// Scores all tokens of a window but the first; the second lies at `position` in the text.
fn score<B: Attend + Experts>(
    model: &Model<B>,
    cache: &mut PagedCache<B>,
    window: &[u32],
    position: usize,
    options: &PerplexityOptions,
    scores: &mut Vec<TokenScore>,
    progress: &mut dyn FnMut(usize),
) -> Result<(), ModelError> {
    let vocab_size = model.config().vocab_size;
    let sequence = cache.new_sequence();
    let chunk = options.chunk.unwrap_or(window.len()).max(1);
    let (seen, wanted) = (&window[..window.len() - 1], &window[1..]);
    let mut positions = position..;
    for (tokens, targets) in seen.chunks(chunk).zip(wanted.chunks(chunk)) {
        let feed = Feed { sequence, tokens };
        let hidden = model.forward(cache, &[feed], options.form, &mut ())?;
        let mut targets = targets.iter();
        in_parts(model, &hidden, tokens.len(), &mut |logits| {
            for (row, &target) in logits.chunks(vocab_size).zip(targets.by_ref()) {
                let position = positions.start;
                positions.start += 1;
                let nll = negative_log_likelihood(row, target as usize).map_err(|at| {
                    let found = row[at].as_f64();
                    PerplexityError::NotFinite { position, id: at, found }
                })?;
                scores.push(TokenScore { position, nll });
            }
            Ok(())
        })?;
        progress(positions.start);
    }
    Ok(cache.release(sequence)?)
}

/// `-ln p` of the token `target` in nats: `ln Σ exp(l_i) - l_target` over `row`, `[vocab]`.
///
/// In `f64` whatever the scalar is, and shifted by the largest logit, so that nothing overflows.
///
/// # Errors
/// The index of the first logit that is NaN or infinite.
fn negative_log_likelihood<T: Scalar>(row: &[T], target: usize) -> Result<f64, usize> {
    if let Some(at) = row.iter().position(|logit| !logit.is_finite()) {
        return Err(at);
    }
    let largest = row.iter().fold(f64::NEG_INFINITY, |max, logit| max.max(logit.as_f64()));
    let sum: f64 = row.iter().map(|logit| (logit.as_f64() - largest).exp()).sum();
    Ok(sum.ln() + (largest - row[target].as_f64()))
}

#[cfg(test)]
mod tests {
    use super::negative_log_likelihood as nll;

    #[test]
    fn equal_logits_share_the_probability() {
        for logit in [0.0_f32, -7.5, 1e30, f32::MAX, f32::MIN] {
            assert_eq!(nll(&[logit; 4], 2), Ok(4_f64.ln()), "{logit}");
        }
    }

    #[test]
    fn a_certain_token_costs_nothing_and_an_impossible_one_its_distance() {
        assert_eq!(nll(&[0.0_f32, 5000.0, -5000.0], 1), Ok(0.0));
        assert_eq!(nll(&[0.0_f32, 5000.0, -5000.0], 2), Ok(10_000.0));
    }

    #[test]
    fn logits_that_are_no_numbers_are_named_wherever_they_are() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(nll(&[bad, 0.0, 1.0], 2), Err(0));
            assert_eq!(nll(&[0.0, 1.0, bad], 0), Err(2));
        }
    }
}
