//! How well a model predicts documents that it was not trained on.

use std::collections::BTreeMap;
use std::sync::Arc;

use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::{Keep, Model, ModelError};

use super::Prepared;
use crate::data::Batch;

/// The cross-entropy of validation documents, in nats per token.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Evaluation {
    /// The mean over all tokens that were predicted.
    pub loss: f64,
    /// How many there were.
    pub targets: usize,
    /// The mean over the tokens of each kind of text, and how many there were.
    pub kinds: BTreeMap<Arc<str>, (f64, usize)>,
}

impl Evaluation {
    /// Predicts the validation documents; `None` where there is nothing to be predicted.
    pub(super) fn of<B: AttendBackward + ExpertsBackward>(
        model: &Model<B>,
        run: &Prepared,
    ) -> Result<Option<Self>, ModelError> {
        let limit = run.config.run.eval_batches.unwrap_or(usize::MAX);
        let mut sums: BTreeMap<Arc<str>, (f64, usize)> = BTreeMap::new();
        for batch in run.micro.pass(&run.validation).take(limit) {
            let losses = losses(model, &batch, run)?;
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
        Ok(Some(Self { loss, targets, kinds }))
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
    let targets = batch.segments.iter().flat_map(|segment| &segment.targets).enumerate();
    let targets: Vec<(usize, u32)> = targets.filter_map(|(row, t)| Some((row, (*t)?))).collect();
    let mut losses = Vec::with_capacity(targets.len());
    for part in targets.chunks(run.loss.logits_chunk.max(1)) {
        let (rows, targets): (Vec<usize>, Vec<u32>) = part.iter().copied().unzip();
        let backend = model.backend();
        let logits = model.logits(&backend.select_rows(&hidden, &rows)?)?;
        losses.extend(backend.cross_entropy(&logits, &targets, 0.0)?.0);
    }
    Ok(losses)
}
