//! The gradients of a batch of answers, some at a time.

use latent_kernels::Backend;
use latent_model::Model;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;

use super::{Group, RlPrepared};
use crate::grpo::{Completion, GrpoLoss, GrpoReport, Sampled, Span, Whole, gradients, logprobs};
use crate::routes::Routes;
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

/// The experts of each answer's tokens, prompt included, when it was drawn.
pub(super) fn experts(groups: &[Group]) -> Vec<&[Vec<usize>]> {
    groups.iter().flat_map(|g| &g.answers).map(|answer| answer.drawn.experts.as_slice()).collect()
}

/// What a batch says of the weights.
#[derive(Debug, Clone, Default)]
pub(super) struct Update {
    pub(super) report: GrpoReport,
    pub(super) gradients: Parameters<f32>,
    pub(super) loads: Loads,
    /// The tokens that went to other experts than when they were drawn.
    pub(super) rerouted: usize,
}

/// The loss of a batch and its gradient, and what became of tokens that went to `experts` when they were drawn.
///
/// Parts are cut and added in one order, whatever computes them.
pub(super) fn of_batch<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>>(
    models: &[Model<B>],
    run: &RlPrepared,
    batch: &[Completion],
    experts: &[&[Vec<usize>]],
) -> Result<Update, TrainStepError> {
    let sampled = batch.iter().map(|completion| &completion.sampled);
    let whole = Some(Whole::of(sampled, &run.loss.grpo));
    let config = GrpoLoss { whole, ..run.loss };
    let size = run.config.rollout.micro_batch_size;
    let parts = batch.chunks(size).zip(experts.chunks(size)).collect();
    let parts = team::share(models, parts, |model, (part, experts)| {
        let mut routes = Routes::new(model);
        let (report, gradients) = gradients(model, part, &config, &mut routes)?;
        let (loads, rerouted) = (routes.loads(), rerouted(&routes, part, experts));
        Ok::<_, TrainStepError>(Update { report, gradients, loads, rerouted })
    })?;
    Ok(parts.into_iter().reduce(Update::and).unwrap_or_default())
}

impl Update {
    /// That of two parts of a batch.
    fn and(mut self, more: Self) -> Self {
        self.report = GrpoReport {
            loss: self.report.loss + more.report.loss,
            balance: self.report.balance + more.report.balance,
            mtp: self.report.mtp.zip(more.report.mtp).map(|(a, b)| a + b),
            metrics: self.report.metrics.merge(&more.report.metrics),
            activation_bytes: self.report.activation_bytes.max(more.report.activation_bytes),
        };
        self.gradients.add(&more.gradients);
        self.loads.merge(&more.loads);
        self.rerouted += more.rerouted;
        self
    }
}

/// How many tokens of a part went elsewhere. The last token of each was not computed when it was drawn.
fn rerouted<B: AttendBackward + ExpertsBackward>(
    routes: &Routes<'_, B>,
    part: &[Completion],
    wanted: &[&[Vec<usize>]],
) -> usize {
    let all: Vec<Vec<usize>> = routes.tokens().collect();
    let mut at = 0;
    let of_one = |(completion, wanted): (&Completion, &&[Vec<usize>])| {
        let found = all.get(at..at + completion.tokens.len() - 1).unwrap_or_default();
        at += completion.tokens.len();
        let same = found.iter().zip(*wanted).filter(|(found, wanted)| found == wanted).count();
        found.len().max(wanted.len()) - same
    };
    part.iter().zip(wanted).map(of_one).sum()
}
