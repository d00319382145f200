//! The objective of a batch of completions, and its gradient by every weight.

use std::ops::Range;

use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::moe::balance::BalanceLosses;
use latent_model::{Form, HeadChunk, Keep, Model, ModelError, Observer};

use super::entropy::entropies;
use super::span::Targets;
use super::{GrpoConfig, GrpoError, Metrics, Objective, Sampled, Span, Whole};
use crate::Parameters;
use crate::loss::{Sum, mtp_apart};
use crate::{LossConfig, Sequence};

/// An answer to a question, to learn from.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Completion {
    /// The tokens of the question and of the answer, from position 0 on.
    pub tokens: Vec<u32>,
    /// Which of them are the answer: some, behind the first.
    pub completion: Range<usize>,
    /// How these were sampled, and what they are worth.
    pub sampled: Sampled,
}

impl Completion {
    /// Its tokens alone.
    #[must_use]
    pub fn span(&self) -> Span<'_> {
        Span { tokens: &self.tokens, completion: self.completion.clone() }
    }
}

/// How the loss of a policy is put together, and how its gradients are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GrpoLoss {
    /// The objective.
    pub grpo: GrpoConfig,
    /// The losses on routers, over all tokens, those of prompts and of masked completions among them.
    pub balance: BalanceLosses,
    /// The weight of multi-token prediction's cross-entropy over the answers' tokens. Its gradients are those of
    /// its layers' own weights alone; at 0 these have none.
    pub mtp_weight: f64,
    /// How latent attention is computed; [`Form::Auto`] is an error. Answers are to be sampled in the
    /// same form.
    pub form: Form,
    /// What is kept of layers until their gradients are computed.
    pub keep: Keep,
    /// For how many tokens logits are held at once.
    pub logits_chunk: usize,
    /// Whether the entropy of each token's distribution is computed: logits go through the host for it.
    pub entropy: bool,
    /// The batch, where less than all of it is computed at once.
    pub whole: Option<Whole>,
}

impl Default for GrpoLoss {
    /// The objective alone, in the expanded form, of a whole batch.
    fn default() -> Self {
        Self {
            grpo: GrpoConfig::default(),
            balance: BalanceLosses::default(),
            mtp_weight: 0.0,
            form: Form::Expanded,
            keep: Keep::Products,
            logits_chunk: 1024,
            entropy: true,
            whole: None,
        }
    }
}

/// What a step of a policy is made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GrpoReport {
    /// Minus the objective, the divergence from the reference with its weight included.
    pub loss: f64,
    /// The losses on routers, with their coefficients, summed over layers.
    pub balance: f64,
    /// Multi-token prediction's cross-entropy, the mean over its layers, without its weight; of a part of a
    /// batch, its share. `None` where it has no weight.
    pub mtp: Option<f64>,
    /// What is watched.
    pub metrics: Metrics,
    /// The bytes of activations that were kept.
    pub activation_bytes: usize,
}

impl GrpoReport {
    /// What is minimised, but for multi-token prediction.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.loss + self.balance
    }
}

/// The loss of a batch of completions and the gradient of its [total](GrpoReport::total) by every weight
/// of the model but the biases of routers, which have none. A weight that took no part has a gradient of zeros.
/// Layers for multi-token prediction learn apart from the policy, whose gradient is the same without them.
///
/// Logits are made once, for some tokens at a time: the log-probabilities of a chunk say what each of its
/// tokens weighs, and the gradient goes back from it before the next chunk. Where less than a whole batch
/// is given, losses and gradients of all parts are to be added; those on routers are scaled by the part's
/// completions.
///
/// `observer` sees the forward pass.
///
/// # Errors
/// Those of [`Objective::new`] and [`Objective::token`]; [`GrpoError::Range`] for a completion that is
/// not some of its tokens behind the first, [`GrpoError::Length`] where it does not have as many
/// log-probabilities as tokens, [`GrpoError::Model`] where the model refuses.
pub fn gradients<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    batch: &[Completion],
    config: &GrpoLoss,
    observer: &mut dyn Observer<B>,
) -> Result<(GrpoReport, Parameters<B::Scalar>), GrpoError> {
    let sampled = batch.iter().map(|completion| &completion.sampled);
    let mut objective = Objective::new(sampled, config.whole, &config.grpo)?;
    let spans: Vec<Span<'_>> = batch.iter().map(Completion::span).collect();
    let targets = Targets::of(&spans, |completion| objective.counts(completion))?;
    batch.iter().enumerate().try_for_each(|(i, completion)| check_length(i, completion))?;

    let tokens: Vec<&[u32]> = spans.iter().map(|span| span.tokens).collect();
    let lengths: Vec<usize> = tokens.iter().map(|t| t.len()).collect();
    let (hidden, saved) = model.forward_saving(&tokens, config.form, config.keep, observer)?;
    let activation_bytes = saved.bytes();

    let (temperature, vocab) = (config.grpo.temperature, model.config().vocab_size);
    let mut entropy = 0.0;
    let weigh = |chunk: HeadChunk<'_, B::Tensor>| -> Result<Vec<f64>, GrpoError> {
        if config.entropy {
            let logits = model.backend().download(chunk.logits).map_err(ModelError::from)?;
            entropy += entropies(&logits, vocab).sum::<f64>();
        }
        let tokens = targets.places[chunk.at].iter().zip(chunk.losses);
        // The gradient by logits is that of minus the log-probability, times its weight.
        tokens.map(|(&(i, token), loss)| Ok(-objective.token(i, token, -loss)?)).collect()
    };
    let (rows, chunk) = (&targets.of_rows, config.logits_chunk);
    let head = model.weighted_cross_entropy(&hidden, rows, temperature, chunk, weigh)?;
    let (loss, mut metrics) = objective.finish();
    metrics.entropy = config.entropy.then(|| entropy / metrics.tokens.max(1) as f64);

    let mut sum = Sum::new(model.backend());
    sum.add(head.gradients)?;
    let share = share(batch.len(), config);
    let balance = scaled(config.balance, share);
    let (below, balance) = model.backward(saved, &head.d_hidden, &balance, &lengths)?;
    sum.add(below)?;
    let mut report = GrpoReport { loss, balance, mtp: None, metrics, activation_bytes };
    if config.mtp_weight > 0.0 {
        let of_mtp = LossConfig {
            balance: scaled(config.balance, share),
            mtp_weight: share * config.mtp_weight,
            form: config.form,
            keep: config.keep,
            logits_chunk: config.logits_chunk,
        };
        let batch = sequences(batch, rows);
        let (losses, of_mtp) = mtp_apart(model, &batch, &of_mtp, &hidden, observer)?;
        report.mtp = Some(share * losses.mtp);
        report.balance += losses.balance;
        sum.add(of_mtp)?;
    }
    Ok((report, sum.download(model)?))
}

/// The part of a batch that some completions are: losses that are means of them count by it.
fn share(completions: usize, config: &GrpoLoss) -> f64 {
    config.whole.map_or(1.0, |whole| completions as f64 / whole.completions.max(1) as f64)
}

/// The losses on routers, each so many times.
fn scaled(BalanceLosses { seq_aux, sequence, z }: BalanceLosses, factor: f64) -> BalanceLosses {
    BalanceLosses { seq_aux: factor * seq_aux, sequence: factor * sequence, z: factor * z }
}

/// Completions with the next token of each of their tokens, where that is one to learn.
fn sequences(batch: &[Completion], mut targets: &[Option<u32>]) -> Vec<Sequence> {
    let of_one = |completion: &Completion| {
        let (own, rest) = targets.split_at(completion.tokens.len());
        targets = rest;
        Sequence { tokens: completion.tokens.clone(), targets: own.to_vec() }
    };
    batch.iter().map(of_one).collect()
}

fn check_length(completion: usize, of: &Completion) -> Result<(), GrpoError> {
    let (found, wanted) = (of.sampled.old_logps.len(), of.completion.len());
    if found == wanted {
        return Ok(());
    }
    Err(GrpoError::Length { name: "old_logps", completion, found, wanted })
}
