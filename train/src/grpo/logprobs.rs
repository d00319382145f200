//! What a model says of completions that are there already.

use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::{Form, Keep, Model};

use super::span::Targets;
use super::{GrpoError, Span};

/// The log-probability of each token of each completion by logits over `temperature`, in nats: what
/// [`Sampled`](super::Sampled) wants of the model that sampled and of the reference.
///
/// They are of the forward pass that gradients are computed by: with the same weights, form and backend
/// the bits are those that [`gradients`](super::gradients) finds, whatever else is in the batch and
/// however large its chunks are. At a temperature of 1 they are those of decoding, too.
///
/// Logits are made for `chunk` tokens at a time; what goes into each layer is held for all tokens.
///
/// # Shapes
/// - returns for each span one number for each token of its completion
///
/// # Errors
/// [`GrpoError::Empty`] and [`GrpoError::Range`] for a completion that is not some tokens of its span
/// behind the first, [`GrpoError::Model`] where the model refuses: a token outside of the vocabulary, a
/// temperature that is not above 0, [`Form::Auto`] with latent attention.
pub fn logprobs<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    spans: &[Span<'_>],
    temperature: f64,
    form: Form,
    chunk: usize,
) -> Result<Vec<Vec<f64>>, GrpoError> {
    let targets = Targets::of(spans, |_| true)?;
    let tokens: Vec<&[u32]> = spans.iter().map(|span| span.tokens).collect();
    let (hidden, _) = model.forward_saving(&tokens, form, Keep::Inputs, &mut ())?;
    let all = model.log_probs(&hidden, &targets.of_rows, temperature, chunk)?;
    let mut of_spans = vec![Vec::new(); spans.len()];
    for ((completion, _), logp) in targets.places.into_iter().zip(all) {
        of_spans[completion].push(logp);
    }
    Ok(of_spans)
}
