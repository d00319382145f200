//! The loss of layers for multi-token prediction, each fed by the one before.

use std::collections::BTreeMap;

use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::{Model, ModelError, Observer, put_rows};

use super::{LossConfig, Losses, Sequence, Sum, mean_of};

/// Adds the cross-entropies of the multi-token-prediction layers, each fed by the one before, and
/// returns the gradient by the main model's hidden states.
pub(super) fn mtp<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    batch: &[Sequence],
    config: &LossConfig,
    hidden: &B::Tensor,
    (losses, sum): (&mut Losses, &mut Sum<'_, B>),
    observer: &mut dyn Observer<B>,
) -> Result<B::Tensor, ModelError> {
    let (backend, depth) = (model.backend(), model.config().num_nextn_predict_layers);
    let mut levels = Vec::with_capacity(depth);
    let mut below = hidden.clone();
    for index in 0..depth {
        let level = Level::new(batch, index);
        let next: Vec<&[u32]> = level.next.iter().map(Vec::as_slice).collect();
        let input = backend.select_rows(&below, &level.rows)?;
        let (out, saved) = model.forward_mtp_saving(index, &input, &next, config.form)?;
        if let Some(routing) = saved.routing() {
            observer.routing(model.config().num_hidden_layers + index, routing)?;
        }
        let (mean, scale) = mean_of(&level.targets);
        let scale = scale * config.mtp_weight / depth as f64;
        let head = model.cross_entropy(&out, &level.targets, scale, config.logits_chunk)?;
        losses.mtp += mean(&head.losses) / depth as f64;
        sum.add(head.gradients)?;
        below = out;
        levels.push((level, saved, head.d_hidden));
    }
    let mut from_above: Option<B::Tensor> = None;
    for (level, saved, mut dy) in levels.into_iter().rev() {
        if let Some(more) = from_above {
            dy = backend.add(&dy, &more)?;
        }
        let lengths: Vec<usize> = level.next.iter().map(Vec::len).collect();
        let of_layer = model.backward_mtp(&saved, &dy, &config.balance, &lengths)?;
        losses.balance += of_layer.balance;
        sum.add(of_layer.gradients)?;
        from_above = Some(put_rows(backend, level.tokens, &level.rows, &of_layer.dx)?);
    }
    match from_above {
        Some(d_hidden) => Ok(d_hidden),
        None => put_rows(backend, hidden_rows(batch), &[], &backend.select_rows(hidden, &[])?),
    }
}

/// The losses of the multi-token-prediction layers, and the gradients of these layers' own weights: what the main
/// model shares with them stays as it is, as if `hidden` were given.
pub(crate) fn mtp_apart<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    batch: &[Sequence],
    config: &LossConfig,
    hidden: &B::Tensor,
    observer: &mut dyn Observer<B>,
) -> Result<(Losses, BTreeMap<String, B::Tensor>), ModelError> {
    let (mut losses, mut sum) = (Losses::default(), Sum::new(model.backend()));
    mtp(model, batch, config, hidden, (&mut losses, &mut sum), observer)?;
    Ok((losses, sum.only(|name| model.config().is_of_mtp(name))))
}

fn hidden_rows(batch: &[Sequence]) -> usize {
    batch.iter().map(|s| s.tokens.len()).sum()
}

/// What one multi-token-prediction layer is fed: at each position the token one further, for as long as
/// there is one.
struct Level {
    /// The rows of the level below that have such a token.
    rows: Vec<usize>,
    /// How many rows the level below has.
    tokens: usize,
    /// Those tokens, of each sequence.
    next: Vec<Vec<u32>>,
    /// What comes after each of them.
    targets: Vec<Option<u32>>,
}

impl Level {
    fn new(batch: &[Sequence], index: usize) -> Self {
        let mut level = Self { rows: Vec::new(), tokens: 0, next: Vec::new(), targets: Vec::new() };
        for sequence in batch {
            let below = sequence.tokens.len().saturating_sub(index);
            let here = below.saturating_sub(1);
            level.rows.extend(level.tokens..level.tokens + here);
            level.tokens += below;
            level.next.push(sequence.tokens.iter().skip(index + 1).copied().collect());
            level.targets.extend(sequence.targets.iter().skip(index + 1));
        }
        level
    }
}
