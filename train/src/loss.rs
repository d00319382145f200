//! What a training step minimises, and its gradients by every weight.

use latent_kernels::KernelError;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::moe::balance::BalanceLosses;
use latent_model::{Form, Keep, Model, ModelError, Observer};

use crate::Parameters;
use crate::data::Segment;

mod mtp;
mod sum;

use mtp::mtp;

pub(crate) use mtp::mtp_apart;
pub(crate) use sum::Sum;

/// A sequence to learn from: attention stays inside of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequence {
    /// Its tokens, from position 0 on.
    pub tokens: Vec<u32>,
    /// The token that follows each; one without is not predicted.
    pub targets: Vec<Option<u32>>,
}

impl Sequence {
    /// Tokens that predict one another, the last of them nothing.
    ///
    /// ```
    /// use latent_train::Sequence;
    /// assert_eq!(Sequence::of(&[5, 6, 7]).targets, [Some(6), Some(7), None]);
    /// ```
    #[must_use]
    pub fn of(tokens: &[u32]) -> Self {
        let next = tokens.iter().skip(1).map(|&t| Some(t)).chain([None]);
        Self { tokens: tokens.to_vec(), targets: next.take(tokens.len()).collect() }
    }

    /// Proves that each token has a place for its target.
    fn check(&self) -> Result<(), KernelError> {
        let (tokens, targets) = (self.tokens.len(), self.targets.len());
        if tokens == targets {
            return Ok(());
        }
        let wanted = format!("want [{tokens}], one for each token of its sequence");
        Err(KernelError::shape("targets", &[targets], wanted))
    }
}

impl From<&Segment> for Sequence {
    fn from(segment: &Segment) -> Self {
        Self { tokens: segment.tokens.clone(), targets: segment.targets.clone() }
    }
}

/// How a loss is put together, and how its gradients are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossConfig {
    /// The losses on routers.
    pub balance: BalanceLosses,
    /// The weight of multi-token prediction's cross-entropy: V3 starts with 0.3 and ends with 0.1.
    pub mtp_weight: f64,
    /// How latent attention is computed; [`Form::Auto`] is an error.
    pub form: Form,
    /// What is kept of layers until their gradients are computed.
    pub keep: Keep,
    /// For how many tokens logits are held at once.
    pub logits_chunk: usize,
}

impl Default for LossConfig {
    /// Cross-entropy alone, in the expanded form.
    fn default() -> Self {
        Self {
            balance: BalanceLosses::default(),
            mtp_weight: 0.0,
            form: Form::Expanded,
            keep: Keep::Products,
            logits_chunk: 1024,
        }
    }
}

/// What a loss is made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Losses {
    /// The mean cross-entropy of the next token, in nats; 0 without targets.
    pub cross_entropy: f64,
    /// The mean cross-entropy of multi-token prediction over its layers, in nats, before its weight.
    pub mtp: f64,
    /// The losses on routers, with their coefficients, summed over layers.
    pub balance: f64,
    /// How many next tokens were predicted.
    pub targets: usize,
    /// The bytes of activations that were kept.
    pub activation_bytes: usize,
}

impl Losses {
    /// What is minimised: `cross_entropy + balance + mtp_weight mtp`.
    #[must_use]
    pub fn total(&self, config: &LossConfig) -> f64 {
        self.cross_entropy + self.balance + config.mtp_weight * self.mtp
    }
}

/// The losses of a batch, and the gradient of their [total](Losses::total) by every weight of the model
/// but the biases of routers, which have none. A weight that took no part has a gradient of zeros.
///
/// `observer` sees the forward pass of the main model, and what the gates of multi-token-prediction
/// layers choose.
///
/// # Errors
/// [`ModelError`] of the part that refused: a token outside of the vocabulary, [`Form::Auto`] with latent
/// attention, a sequence whose targets are not as many as its tokens.
pub fn gradients<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    batch: &[Sequence],
    config: &LossConfig,
    observer: &mut dyn Observer<B>,
) -> Result<(Losses, Parameters<B::Scalar>), ModelError> {
    batch.iter().try_for_each(Sequence::check)?;
    let tokens: Vec<&[u32]> = batch.iter().map(|s| s.tokens.as_slice()).collect();
    let targets: Vec<Option<u32>> = batch.iter().flat_map(|s| &s.targets).copied().collect();
    let lengths: Vec<usize> = tokens.iter().map(|t| t.len()).collect();
    let (hidden, saved) = model.forward_saving(&tokens, config.form, config.keep, observer)?;
    let mut losses = Losses { activation_bytes: saved.bytes(), ..Losses::default() };

    let (mean, scale) = mean_of(&targets);
    let head = model.cross_entropy(&hidden, &targets, scale, config.logits_chunk)?;
    losses.cross_entropy = mean(&head.losses);
    losses.targets = head.losses.len();
    let mut sum = Sum::new(model.backend());
    sum.add(head.gradients)?;
    let mut d_hidden = head.d_hidden;
    if config.mtp_weight > 0.0 {
        let more = mtp(model, batch, config, &hidden, (&mut losses, &mut sum), observer)?;
        d_hidden = model.backend().add(&d_hidden, &more)?;
    }
    let (below, balance) = model.backward(saved, &d_hidden, &config.balance, &lengths)?;
    sum.add(below)?;
    losses.balance += balance;
    Ok((losses, sum.download(model)?))
}

/// The mean over some targets, and what each counts in it.
fn mean_of(targets: &[Option<u32>]) -> (impl Fn(&[f64]) -> f64 + use<>, f64) {
    let scale = 1.0 / targets.iter().flatten().count().max(1) as f64;
    (move |losses: &[f64]| losses.iter().sum::<f64>() * scale, scale)
}
