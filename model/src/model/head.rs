//! Losses on the logits, some tokens at a time, and their gradients.

use std::ops::Range;

use latent_kernels::linear::backward::check_grad_weight;
use latent_kernels::{Backend, Gradients, KernelError, Scalar};
use latent_mla::AttendBackward;
use latent_moe::ExpertsBackward;

use super::{Model, put_rows};
use crate::ModelError;
use crate::tensors::{EMBEDDING, HEAD};

/// What a loss on the logits says of the hidden states.
#[derive(Debug)]
pub struct HeadLoss<B: AttendBackward + ExpertsBackward> {
    /// `-ln p` of each target, in the order of the tokens that have one, in nats.
    pub losses: Vec<f64>,
    /// The gradient by the hidden states, `[token, hidden]`.
    pub d_hidden: B::Tensor,
    /// That of the head, under its name or that of the embedding it is tied to.
    pub gradients: Gradients<B::Tensor>,
}

/// Some tokens at the head, before anything goes back from them.
#[derive(Debug)]
pub struct HeadChunk<'a, T> {
    /// Which of the tokens that have a target these are, counted over all chunks.
    pub at: Range<usize>,
    /// `-ln p` of their targets, in nats.
    pub losses: &'a [f64],
    /// Their logits over the temperature, `[token, vocab]`.
    pub logits: &'a T,
}

/// The tokens of some rows that have a target: their rows, and the targets.
type Chosen = (Vec<usize>, Vec<u32>);

impl<B: AttendBackward + ExpertsBackward> Model<B> {
    /// The cross-entropy of `targets` by [`logits`](Self::logits), and its gradients times `scale`.
    ///
    /// Logits are made for `chunk` tokens at a time and never held for all.
    ///
    /// # Shapes
    /// - `hidden`: `[token, hidden]`
    /// - `targets`: `[token]`, the next token of each; one without takes no part
    ///
    /// # Errors
    /// [`ModelError::Kernel`] when there is not a target for each token, or one is outside of the
    /// vocabulary.
    pub fn cross_entropy(
        &self,
        hidden: &B::Tensor,
        targets: &[Option<u32>],
        scale: f64,
        chunk: usize,
    ) -> Result<HeadLoss<B>, ModelError> {
        self.by_chunks(hidden, targets, chunk, |logits, targets, _| {
            Ok(self.backend.cross_entropy(&logits, targets, &vec![scale; targets.len()])?)
        })
    }

    /// The cross-entropy of `targets` by logits over a temperature, and its gradients times a weight for
    /// each token, which may depend on what the model says of it: `weigh` is shown a chunk, and returns
    /// the weight of each of its tokens.
    ///
    /// With equal weights and a temperature of 1 all is bit for bit that of
    /// [`cross_entropy`](Self::cross_entropy). Without targets `weigh` is shown one chunk of no tokens.
    ///
    /// # Shapes
    /// - `hidden`: `[token, hidden]`
    /// - `targets`: `[token]`, the next token of each; one without takes no part
    /// - `weigh` returns `[token of the chunk]`
    ///
    /// # Errors
    /// Those of `weigh`; [`ModelError::Kernel`] when there is not a target for each token or a weight for
    /// each of a chunk, a target is outside of the vocabulary, or the temperature is not above 0.
    pub fn weighted_cross_entropy<E: From<ModelError>>(
        &self,
        hidden: &B::Tensor,
        targets: &[Option<u32>],
        temperature: f64,
        chunk: usize,
        mut weigh: impl FnMut(HeadChunk<'_, B::Tensor>) -> Result<Vec<f64>, E>,
    ) -> Result<HeadLoss<B>, E> {
        check_temperature(temperature).map_err(ModelError::from)?;
        self.by_chunks(hidden, targets, chunk, |logits, targets, at| {
            let logits = over(&self.backend, logits, temperature)?;
            let losses = losses(&self.backend, &logits, targets)?;
            let chunk = HeadChunk { at, losses: &losses, logits: &logits };
            let scales: Vec<f64> = weigh(chunk)?.iter().map(|w| w / temperature).collect();
            let of_chunk = self.backend.cross_entropy(&logits, targets, &scales);
            Ok((losses, of_chunk.map_err(ModelError::from)?.1))
        })
    }

    /// `ln p` of each target by logits that are there, over a temperature: the numbers of
    /// [`log_probs`](Self::log_probs).
    ///
    /// # Shapes
    /// - `logits`: `[token, vocab]`
    /// - `targets`: `[token]`
    ///
    /// # Errors
    /// [`ModelError::Kernel`] as of [`log_probs`](Self::log_probs).
    pub fn log_probs_of(
        &self,
        logits: B::Tensor,
        targets: &[u32],
        temperature: f64,
    ) -> Result<Vec<f64>, ModelError> {
        check_temperature(temperature)?;
        let logits = over(&self.backend, logits, temperature)?;
        Ok(losses(&self.backend, &logits, targets)?.iter().map(|loss| -loss).collect())
    }

    /// `ln p` of each target by logits over a temperature, in the order of the tokens that have one, in
    /// nats: the very numbers that the losses of the methods above are minus.
    ///
    /// # Shapes
    /// - `hidden`: `[token, hidden]`
    /// - `targets`: `[token]`; one without takes no part
    ///
    /// # Errors
    /// [`ModelError::Kernel`] when there is not a target for each token, one is outside of the
    /// vocabulary, or the temperature is not above 0.
    pub fn log_probs(
        &self,
        hidden: &B::Tensor,
        targets: &[Option<u32>],
        temperature: f64,
        chunk: usize,
    ) -> Result<Vec<f64>, ModelError> {
        check_temperature(temperature)?;
        let mut all = Vec::new();
        for (rows, targets) in chunks(hidden, targets, chunk)? {
            let logits = self.logits(&self.backend.select_rows(hidden, &rows)?)?;
            all.extend(self.log_probs_of(logits, &targets, temperature)?);
        }
        Ok(all)
    }

    /// Sums up what `of` makes of the logits of each chunk: losses, and the gradient by the logits.
    fn by_chunks<E: From<ModelError>>(
        &self,
        hidden: &B::Tensor,
        targets: &[Option<u32>],
        chunk: usize,
        mut of: impl FnMut(B::Tensor, &[u32], Range<usize>) -> Result<(Vec<f64>, B::Tensor), E>,
    ) -> Result<HeadLoss<B>, E> {
        let backend = &self.backend;
        let head = self.lm_head.as_ref().unwrap_or(&self.embed_tokens);
        let tokens = targets.len();
        let (mut losses, mut sums) = (Vec::new(), None);
        for (rows, targets) in chunks(hidden, targets, chunk)? {
            let x = backend.select_rows(hidden, &rows).map_err(ModelError::from)?;
            let at = losses.len()..losses.len() + targets.len();
            let (more, d_logits) = of(self.logits(&x)?, &targets, at)?;
            losses.extend(more);
            let before = sums.take();
            let back = || -> Result<_, ModelError> {
                let d_x = backend.linear_grad_input(&d_logits, head)?;
                let d_hidden = put_rows(backend, tokens, &rows, &d_x)?;
                let d_head = backend.linear_grad_weight(&x, &d_logits, head)?;
                Ok(match before {
                    Some((a, b)) => (backend.add(&a, &d_hidden)?, backend.add(&b, &d_head)?),
                    None => (d_hidden, d_head),
                })
            };
            sums = Some(back()?);
        }
        let (d_hidden, d_head) = sums.expect("there is a first chunk, if of no tokens");
        let mut gradients = Gradients::default();
        gradients.push(if self.lm_head.is_some() { HEAD } else { EMBEDDING }, d_head);
        Ok(HeadLoss { losses, d_hidden, gradients })
    }
}

/// The tokens that have a target, `chunk` at a time; without any, one chunk of none.
fn chunks<T: latent_kernels::Tensor>(
    hidden: &T,
    targets: &[Option<u32>],
    chunk: usize,
) -> Result<Vec<Chosen>, ModelError> {
    let width = hidden.shape().last().copied().unwrap_or(0);
    check_grad_weight(hidden.shape(), &[targets.len(), 0], [0, width])?;
    let chosen: Vec<(usize, u32)> =
        targets.iter().enumerate().filter_map(|(row, t)| Some((row, (*t)?))).collect();
    let (first, rest) = chosen.split_at(chunk.max(1).min(chosen.len()));
    let parts = [first].into_iter().chain(rest.chunks(chunk.max(1)));
    Ok(parts.map(|part| part.iter().copied().unzip()).collect())
}

/// `-ln p` of each target; a scale of 0 wants no gradient.
fn losses<B: AttendBackward>(
    backend: &B,
    logits: &B::Tensor,
    targets: &[u32],
) -> Result<Vec<f64>, ModelError> {
    Ok(backend.cross_entropy(logits, targets, &vec![0.0; targets.len()])?.0)
}

fn check_temperature(temperature: f64) -> Result<(), KernelError> {
    if temperature > 0.0 && temperature.is_finite() {
        return Ok(());
    }
    Err(KernelError::Setting {
        name: "temperature".into(),
        found: temperature.to_string(),
        wanted: "a finite number above 0".into(),
    })
}

/// Logits over a temperature. By 1 they are the same, and not moved.
#[expect(clippy::float_cmp, reason = "a division by 1 alone changes nothing")]
fn over<B: Backend>(
    backend: &B,
    logits: B::Tensor,
    temperature: f64,
) -> Result<B::Tensor, ModelError> {
    if temperature == 1.0 {
        return Ok(logits);
    }
    let shape = latent_kernels::Tensor::shape(&logits).to_vec();
    let mut values = backend.download(&logits)?;
    values.iter_mut().for_each(|x| *x = B::Scalar::from_f64(x.as_f64() / temperature));
    Ok(backend.upload(&values, &shape)?)
}
