//! The gradients of a batch of answers, some at a time.

use latent_kernels::Backend;
use latent_model::Model;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use super::{Group, RlPrepared};
use crate::grpo::{Completion, GrpoLoss, GrpoReport, Sampled, Span, Whole, gradients, logprobs};
use crate::{Loads, Parameters, TrainStepError, team};

/// What gradients are computed of: answers, with what each is worth.
pub(super) fn completions(groups: &[Group], advantages: &[f64]) -> Vec<Completion> {
    let answers =
        groups.iter().flat_map(|g| g.answers.iter().map(move |answer| (&g.prompt, answer)));
    let completion = |((prompt, answer), &advantage): ((&Vec<u32>, &super::Answer), &f64)| {
        let tokens = [prompt.as_slice(), &answer.drawn.tokens].concat();
        Completion {
            completion: prompt.len()..tokens.len(),
            tokens,
            sampled: Sampled {
                old_logps: answer.drawn.logps.clone(),
                ref_logps: None,
                advantage,
                truncated: !answer.drawn.ended,
            },
        }
    };
    answers.zip(advantages).map(completion).collect()
}

/// Adds what the reference says of every answer.
pub(super) fn refer<B: AttendBackward + ExpertsBackward>(
    reference: &[Model<B>],
    run: &RlPrepared,
    batch: &mut [Completion],
) -> Result<(), TrainStepError> {
    let (size, loss) = (run.config.rollout.micro_batch_size, &run.loss);
    let parts: Vec<&mut [Completion]> = batch.chunks_mut(size).collect();
    team::share(reference, parts, |model, part| {
        let spans: Vec<Span<'_>> = part.iter().map(Completion::span).collect();
        let of = logprobs(model, &spans, loss.grpo.temperature, loss.form, loss.logits_chunk)?;
        for (completion, logps) in part.iter_mut().zip(of) {
            completion.sampled.ref_logps = Some(logps);
        }
        Ok(())
    })
    .map(drop)
}

/// The loss of a batch and its gradient, and the tokens that experts got.
///
/// Parts are cut and added in one order, whatever computes them.
pub(super) fn of_batch<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    models: &[Model<B>],
    run: &RlPrepared,
    batch: &[Completion],
) -> Result<(GrpoReport, Parameters<f32>, Loads), TrainStepError> {
    let sampled = batch.iter().map(|completion| &completion.sampled);
    let whole = Some(Whole::of(sampled, &run.loss.grpo));
    let config = GrpoLoss { whole, ..run.loss };
    let parts = batch.chunks(run.config.rollout.micro_batch_size).collect();
    let parts = team::share(models, parts, |model, part| {
        let mut loads = Loads::default();
        let mut observer = loads.observer(model.backend());
        let (report, gradient) = gradients(model, part, &config, &mut observer)?;
        Ok::<_, TrainStepError>((report, gradient, loads))
    })?;
    let mut parts = parts.into_iter();
    let Some(first) = parts.next() else { return Ok(Default::default()) };
    Ok(parts.fold(first, |(report, mut gradient, mut loads), (more, of_part, of_experts)| {
        gradient.add(&of_part);
        of_experts.iter().for_each(|(layer, load)| loads.add(layer, load));
        (merge(&report, &more), gradient, loads)
    }))
}

fn merge(a: &GrpoReport, b: &GrpoReport) -> GrpoReport {
    GrpoReport {
        loss: a.loss + b.loss,
        balance: a.balance + b.balance,
        metrics: a.metrics.merge(&b.metrics),
        activation_bytes: a.activation_bytes.max(b.activation_bytes),
    }
}
