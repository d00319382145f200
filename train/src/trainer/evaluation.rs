//! How well a model predicts documents that it was not trained on.

use std::collections::BTreeMap;
use std::sync::Arc;

use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::{Keep, Model, ModelError};

use super::{Prepared, TrainStepError};
use crate::data::Batch;

/// The cross-entropy of validation documents, in nats per token.
///
/// What is predicted is each token of a document but its first, the one that ends it included.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// The mean over all tokens that were predicted.
    pub loss: f64,
    /// How many there were.
    pub targets: usize,
    /// The bytes of text that they stand for; the end of a document stands for none.
    pub bytes: usize,
    /// The mean over the tokens of each kind of text, and how many there were.
    pub kinds: BTreeMap<Arc<str>, (f64, usize)>,
}

impl Evaluation {
    /// What the predicted tokens take in bits, the ends of documents included, over the bytes of text
    /// that they stand for: it compares models with different tokenizers. `None` where they stand for
    /// none.
    ///
    /// ```
    /// use latent_train::Evaluation;
    /// // `ab` and its end: one byte and the end are predicted, by even chances of two.
    /// let found = Evaluation { loss: 2.0_f64.ln(), targets: 2, bytes: 1, ..Evaluation::default() };
    /// assert_eq!(found.bits_per_byte(), Some(2.0));
    /// ```
    #[must_use]
    pub fn bits_per_byte(&self) -> Option<f64> {
        let bits = self.loss * self.targets as f64 / std::f64::consts::LN_2;
        (self.bytes > 0).then(|| bits / self.bytes as f64)
    }

    /// Predicts the validation documents; `None` where there is nothing to be predicted.
    pub(super) fn of<B: AttendBackward + ExpertsBackward>(
        model: &Model<B>,
        run: &Prepared,
    ) -> Result<Option<Self>, TrainStepError> {
        let limit = run.config.run.eval_batches.unwrap_or(usize::MAX);
        let mut sums: BTreeMap<Arc<str>, (f64, usize)> = BTreeMap::new();
        let mut bytes = 0;
        for batch in run.micro.pass(&run.validation).take(limit) {
            let losses = losses(model, &batch, run)?;
            for target in batch.segments.iter().flat_map(|s| s.targets.iter().flatten()) {
                bytes += run.codec.text_bytes(*target)?;
            }
            let kinds = batch
                .segments
                .iter()
                .flat_map(|segment| segment.targets.iter().flatten().map(|_| segment.kind.clone()));
            for (kind, loss) in kinds.zip(losses) {
                let (sum, count) = sums.entry(kind).or_default();
                *sum += loss;
                *count += 1;
            }
        }
        let targets: usize = sums.values().map(|(_, count)| count).sum();
        if targets == 0 {
            return Ok(None);
        }
        let loss = sums.values().map(|(sum, _)| sum).sum::<f64>() / targets as f64;
        let kinds = sums.into_iter().map(|(kind, (sum, n))| (kind, (sum / n as f64, n))).collect();
        Ok(Some(Self { loss, targets, bytes, kinds }))
    }
}

/// `-ln p` of each target of a batch, in order.
fn losses<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    batch: &Batch,
    run: &Prepared,
) -> Result<Vec<f64>, ModelError> {
    let tokens: Vec<&[u32]> = batch.segments.iter().map(|s| s.tokens.as_slice()).collect();
    let (hidden, _) = model.forward_saving(&tokens, run.loss.form, Keep::Inputs, &mut ())?;
    let targets: Vec<Option<u32>> =
        batch.segments.iter().flat_map(|segment| &segment.targets).copied().collect();
    let log_probs = model.log_probs(&hidden, &targets, 1.0, run.loss.logits_chunk)?;
    Ok(log_probs.into_iter().map(|log_prob| -log_prob).collect())
}
