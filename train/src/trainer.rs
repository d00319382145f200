//! Training, step by step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use latent_kernels::{Backend, Scalar};
use latent_model::config::ModelConfig;
use latent_model::mla::AttendBackward;
use latent_model::moe::ExpertsBackward;
use latent_model::{Model, ModelError};

use crate::checkpoint::{Contents, Progress, Restored};
use crate::data::{Batches, Cursor};
use crate::routes::Routes;
use crate::{
    LossConfig, Losses, Optimizer, Parameters, Sequence, TrainError, clip_global_norm, gradients,
    initial_weights,
};

mod error;
mod evaluation;
mod loads;
mod prepared;

pub use error::TrainStepError;
pub use evaluation::Evaluation;
pub use loads::{Loads, update_biases};
pub use prepared::Prepared;

/// A model in training: its weights, what their optimiser remembers, and the place in the data.
///
/// A step is: the gradients of a batch, in micro-batches where they are asked for; clipping; the
/// optimiser; the rule on biases. Steps depend on [`Prepared`] and on what [`contents`](Self::contents)
/// saves alone, bit for bit, whatever the number of threads.
#[derive(Debug)]
pub struct Trainer<B> {
    backend: B,
    run: Arc<Prepared>,
    weights: Parameters<f32>,
    optimizer: Optimizer<f32>,
    batches: Batches,
    progress: Progress,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The step, counted from 1.
    pub step: u64,
    /// What the loss is made of, before the step.
    pub losses: Losses,
    /// What was minimised.
    pub loss: f64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The norm of all gradients together, before clipping.
    pub grad_norm: f64,
    /// The tokens that went in.
    pub tokens: usize,
    /// The tokens sent to each expert, for each layer with experts.
    pub loads: Loads,
    /// How long it took.
    pub time: Duration,
}

impl<B: AttendBackward + ExpertsBackward + Backend<Scalar = f32>> Trainer<B> {
    /// A run at its beginning.
    ///
    /// # Errors
    /// [`TrainError::Data`] when the corpus has fewer tokens than one sequence,
    /// [`TrainError::Optimizer`] when a setting is out of its range.
    pub fn new(backend: B, run: Arc<Prepared>) -> Result<Self, TrainError> {
        let weights =
            initial_weights(&run.model, run.config.model.initializer_range, run.config.run.seed);
        let optimizer = Optimizer::new(run.config.optimizer.to_config(), &weights)
            .map_err(TrainError::Optimizer)?;
        let (cursor, settings) = (Cursor::default(), run.settings(&backend));
        let progress = Progress { step: 0, updates: 0, tokens: 0, cursor, settings };
        Self::with(backend, run, weights, optimizer, progress)
    }

    /// A run that goes on from a checkpoint, bit for bit.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and [`TrainError::Snapshot`] when the optimiser's state is not
    /// that of the weights.
    pub fn resume(backend: B, run: Arc<Prepared>, from: Restored) -> Result<Self, TrainError> {
        let optimizer = from.optimizer(run.config.optimizer.to_config())?;
        Self::with(backend, run, from.weights, optimizer, from.progress)
    }

    fn with(
        backend: B,
        run: Arc<Prepared>,
        weights: Parameters<f32>,
        optimizer: Optimizer<f32>,
        progress: Progress,
    ) -> Result<Self, TrainError> {
        let seed = run.config.run.seed;
        let batches = Batches::at(run.train.clone(), run.micro, seed, progress.cursor)?;
        Ok(Self { backend, run, weights, optimizer, batches, progress })
    }

    /// The steps taken.
    #[must_use]
    pub fn step_count(&self) -> u64 {
        self.progress.step
    }

    /// The weights.
    #[must_use]
    pub fn weights(&self) -> &Parameters<f32> {
        &self.weights
    }

    /// The weights, to be changed.
    pub fn weights_mut(&mut self) -> &mut Parameters<f32> {
        &mut self.weights
    }

    /// The model as it is now, its matrices in what the run computes products in.
    ///
    /// # Errors
    /// Those of [`Parameters::model`], with the step.
    pub fn model(&self) -> Result<Model<B>, TrainError> {
        let stored = self.run.config.run.stored();
        let model = self.weights.model(self.backend.clone(), &self.run.model, stored);
        model.map_err(|source| self.in_step(self.progress.step, source.into()))
    }

    /// Takes a step.
    ///
    /// # Errors
    /// [`TrainError::Step`] with the step and what went wrong in it: a loss that is not finite, a
    /// gradient that is not, with its tensor; an error of the model. Weights, the optimiser's state and
    /// the place in the data are as before then.
    pub fn step(&mut self) -> Result<StepReport, TrainError> {
        let (start, step) = (Instant::now(), self.progress.step + 1);
        let mut batches = self.batches.clone();
        let config = &self.run.config;
        let mtp_weight = config.loss.mtp_weight_at(&config.model, step);
        let minimised = LossConfig { mtp_weight, ..self.run.loss };
        let count = config.data.batch_size / config.data.micro_batch();
        let parts: Vec<_> = (0..count).map(|_| batches.next_batch()).collect();
        let tokens = parts.iter().map(|part| part.tokens()).sum();
        let targets: usize = parts.iter().map(|part| part.targets()).sum();
        let model = self.model()?;
        let mut sum = Sum::default();
        let mut loads = Loads::default();
        for part in &parts {
            let sequences: Vec<Sequence> = part.segments.iter().map(Sequence::from).collect();
            let share = part.targets() as f64 / targets.max(1) as f64;
            let mut routes = Routes::new(&model);
            let found = gradients(&model, &sequences, &minimised, &mut routes);
            let (losses, of_part) = found.map_err(|source| self.in_step(step, source.into()))?;
            loads.merge(&routes.loads());
            sum.add(losses, of_part, if count == 1 { None } else { Some(share) });
        }
        let Sum { losses, gradients } = sum;
        let loss = losses.total(&minimised);
        check_losses(&losses, loss).map_err(|source| self.in_step(step, source))?;
        let mut gradients = gradients.unwrap_or_default();
        let grad_norm = clip_global_norm(&mut gradients, config.optimizer.max_grad_norm)
            .map_err(|source| self.in_step(step, source.into()))?;
        let lr = self.run.schedule.lr(config.optimizer.learning_rate, self.progress.step);
        let moved = self.optimizer.step(&self.backend, &mut self.weights, &gradients, lr);
        moved.map_err(|source| self.in_step(step, source.into()))?;
        let gamma = config.loss.gamma_at(&config.model, step);
        let center = config.loss.center_biases;
        update_biases(&mut self.weights, &loads, gamma, center)
            .map_err(|source| self.in_step(step, ModelError::from(source).into()))?;
        self.batches = batches;
        self.progress.step = step;
        self.progress.updates += 1;
        self.progress.tokens += tokens as u64;
        self.progress.cursor = self.batches.cursor();
        let time = start.elapsed();
        Ok(StepReport { step, losses, loss, learning_rate: lr, grad_norm, tokens, loads, time })
    }

    /// How well the model predicts the validation documents; `None` where there are none.
    ///
    /// # Errors
    /// [`TrainError::Step`] with the step and an error of the model or the tokenizer.
    pub fn evaluate(&self) -> Result<Option<Evaluation>, TrainError> {
        let found = Evaluation::of(&self.model()?, &self.run);
        found.map_err(|source| self.in_step(self.progress.step, source))
    }

    /// What a checkpoint is written of.
    ///
    /// # Errors
    /// [`TrainError::Step`] with the tensor when a weight is not finite: no good checkpoint is to be
    /// replaced by one that nothing can go on from.
    pub fn contents(&self) -> Result<Contents<'_>, TrainError> {
        if let Some((tensor, index, found)) = self.weights.not_finite() {
            let source = TrainStepError::Weight { tensor: tensor.into(), index, found };
            return Err(self.in_step(self.progress.step, source));
        }
        Ok(Contents {
            model: self.model_config(),
            weights: &self.weights,
            reference: None,
            optimizer: self.optimizer.state(),
            codec: &self.run.codec,
            progress: &self.progress,
        })
    }

    /// The sizes and settings of the model.
    #[must_use]
    pub fn model_config(&self) -> &ModelConfig {
        &self.run.model
    }

    pub(crate) fn in_step(&self, step: u64, source: TrainStepError) -> TrainError {
        TrainError::Step { step, source: Box::new(source) }
    }
}

/// Losses and gradients of micro-batches, each by its share of the targets.
#[derive(Default)]
struct Sum {
    losses: Losses,
    gradients: Option<Parameters<f32>>,
}

impl Sum {
    /// Adds a part; `None` where it is all.
    fn add(&mut self, losses: Losses, mut gradients: Parameters<f32>, share: Option<f64>) {
        let factor = share.unwrap_or(1.0);
        let sum = &mut self.losses;
        sum.cross_entropy += factor * losses.cross_entropy;
        sum.mtp += factor * losses.mtp;
        sum.balance += factor * losses.balance;
        sum.targets += losses.targets;
        sum.activation_bytes = sum.activation_bytes.max(losses.activation_bytes);
        if share.is_some() {
            let factor = <f32 as Scalar>::from_f64(factor);
            for (_, array) in gradients.iter_mut() {
                array.values_mut().iter_mut().for_each(|v| *v *= factor);
            }
        }
        match &mut self.gradients {
            None => self.gradients = Some(gradients),
            Some(sum) => sum.add(&gradients),
        }
    }
}

fn check_losses(losses: &Losses, loss: f64) -> Result<(), TrainStepError> {
    let parts = [
        ("cross_entropy", losses.cross_entropy),
        ("mtp", losses.mtp),
        ("balance", losses.balance),
        ("loss", loss),
    ];
    match parts.into_iter().find(|(_, value)| !value.is_finite()) {
        Some((what, found)) => Err(TrainStepError::Loss { what, found }),
        None => Ok(()),
    }
}
