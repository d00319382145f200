//! All that a run is made of before its first step.

use std::path::Path;

use latent_kernels::{Backend, Dtype};
use latent_model::ModelError;
use latent_model::checkpoint::{Checkpoint, OpenOptions};
use latent_model::config::ModelConfig;
use serde_json::{Value, json};

use super::RlConfig;
use crate::config::{BIAS_UPDATE_SPEED, TrainConfigError};
use crate::data::TokenCodec;
use crate::grpo::{GrpoConfig, GrpoLoss};
use crate::hash::Hash;
use crate::rewards::{OverlongKind, Rules};
use crate::rollout::RolloutConfig;
use crate::tasks::{Part, Task};
use crate::{Parameters, Schedule, TrainError};

/// The settings of a run, its model as it begins, its problems, and what follows from them.
#[derive(Debug)]
pub struct RlPrepared {
    /// The settings.
    pub config: RlConfig,
    /// The model's sizes.
    pub model: ModelConfig,
    /// Its tokenizer.
    pub codec: TokenCodec,
    /// Its weights before the first step.
    pub base: Parameters<f32>,
    /// The problems.
    pub task: Task,
    /// What answers earn.
    pub rules: Rules,
    /// How the learning rate goes.
    pub schedule: Schedule,
    /// What is minimised.
    pub loss: GrpoLoss,
    /// The tokens that end an answer.
    pub eos_token_ids: Vec<u32>,
    /// How far a router's bias moves in a step.
    pub(super) gamma: f64,
    /// Every setting that changes a bit of the weights, but for the backend.
    settings: Value,
}

impl RlPrepared {
    /// Reads the model and makes the problems.
    ///
    /// # Errors
    /// [`TrainError::Config`] as of [`RlConfig::validate`], [`TrainError::Task`] for problems,
    /// [`TrainError::Base`] for a model that cannot be read, and [`TrainError::Data`] for its tokenizer.
    pub fn new(config: RlConfig) -> Result<Self, TrainError> {
        config.validate()?;
        let rules = config.reward.rules()?;
        let task = Task::new(&config.task)?;
        let dir = &config.base.model;
        let (mut model, _) = ModelConfig::from_dir(dir).map_err(|e| TrainError::Base(e.into()))?;
        let mtp_weight = config.base.mtp_weight;
        if mtp_weight > 0.0 && model.num_nextn_predict_layers == 0 {
            let because = "with a base without layers for multi-token prediction".into();
            let error = TrainConfigError::NoMeaning { field: "base.mtp_weight", because };
            return Err(error.into());
        }
        if mtp_weight == 0.0 {
            // A layer that the model has moved away from is worse than none.
            model.num_nextn_predict_layers = 0;
        }
        let codec = TokenCodec::from_dir(dir)?;
        model.check_tokenizer(codec.max_id()).map_err(|e| TrainError::Base(e.into()))?;
        let base = weights(dir, &model).map_err(TrainError::Base)?;
        let eos_token_ids = match model.eos_token_id.as_slice() {
            [] => vec![codec.end_id()],
            ids => ids.to_vec(),
        };
        let schedule = config.schedule.resolve(config.run.steps)?;
        let grpo = GrpoConfig {
            // Answers that the reward leaves out are left out of the loss, too.
            mask_truncated_completions: config.grpo.mask_truncated_completions
                || config.reward.overlong == OverlongKind::Hard,
            ..config.grpo
        };
        let loss = GrpoLoss {
            grpo,
            balance: config.balance.losses(),
            mtp_weight,
            form: config.run.form(),
            keep: config.run.keep_of_layers(),
            logits_chunk: config.rollout.logits_chunk,
            entropy: true,
            whole: None,
        };
        let gamma = config.balance.bias_update_speed.unwrap_or(BIAS_UPDATE_SPEED);
        let settings = settings(&config, &model, &schedule, &task, &base)?;
        Ok(Self {
            config,
            model,
            codec,
            base,
            task,
            rules,
            schedule,
            loss,
            eos_token_ids,
            gamma,
            settings,
        })
    }

    /// How answers are drawn, with a seed of no meaning.
    pub(super) fn rollout(&self) -> RolloutConfig {
        RolloutConfig {
            num_generations: self.loss.grpo.num_generations,
            max_completion_length: self.loss.grpo.max_completion_length,
            temperature: self.loss.grpo.temperature,
            eos_token_ids: self.eos_token_ids.clone(),
            batch_size: self.config.rollout.batch_size,
            form: self.loss.form,
            experts: false,
            seed: 0,
        }
    }

    /// Every setting that changes a bit of the weights of a run on this backend: see
    /// [`Progress::settings`](crate::checkpoint::Progress::settings).
    #[must_use]
    pub fn settings<B: Backend>(&self, backend: &B) -> Value {
        let mut settings = self.settings.clone();
        // In brackets stand threads, which change no bit, and instruction sets, of which the portable one
        // alone does.
        settings["run"]["backend"] = json!(backend.name().split(" (").next());
        settings
    }
}

/// The weights of the model in a folder, every one of them finite.
fn weights(dir: &Path, model: &ModelConfig) -> Result<Parameters<f32>, ModelError> {
    let checkpoint = Checkpoint::open(dir, OpenOptions::default())?;
    checkpoint.check_weights()?;
    Ok(Parameters::read(&checkpoint, &model.tensors())?)
}

/// Every setting that changes a bit of the weights.
fn settings(
    config: &RlConfig,
    model: &ModelConfig,
    schedule: &Schedule,
    task: &Task,
    base: &Parameters<f32>,
) -> Result<Value, TrainError> {
    let published = model.to_json().map_err(TrainConfigError::from)?;
    let published: Value = serde_json::from_str(&published).unwrap_or(Value::String(published));
    let RlConfig { base: of_base, reward, grpo, rollout, balance, optimizer, run, .. } = config;
    Ok(json!({
        "base": { "config": published, "mtp_weight": of_base.mtp_weight, "weights": of_weights(base) },
        "balance": balance,
        "grpo": grpo,
        "optimizer": optimizer,
        "reward": reward,
        "rollout": {
            "dynamic_sampling": rollout.dynamic_sampling,
            "logits_chunk": rollout.logits_chunk,
            "micro_batch_size": rollout.micro_batch_size,
            "questions": rollout.questions,
        },
        "run": { "dtype": run.dtype, "form": run.form, "seed": run.seed },
        "schedule": schedule,
        "task": of_task(task),
    }))
}

fn of_weights(weights: &Parameters<f32>) -> String {
    let mut hash = Hash::new();
    for (name, array) in weights.iter() {
        hash.add_part(name.as_bytes());
        hash.add_part(&Dtype::F32.encode(array.values()));
    }
    format!("{} weights, hash {:016x}", weights.elements(), hash.value())
}

/// All problems to train on: files may have changed since, and so may what makes them.
fn of_task(task: &Task) -> String {
    let mut hash = Hash::new();
    let count = task.count(Part::Train);
    for index in 0..count {
        let problem = task.problem(index as u64, Part::Train);
        hash.add_part(problem.question.as_bytes());
        hash.add_part(problem.answer.as_bytes());
    }
    format!("{count} problems, hash {:016x}", hash.value())
}
