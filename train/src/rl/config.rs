//! The settings of reinforcement learning, from a TOML file.

use std::path::{Path, PathBuf};

use latent_model::moe::balance::BalanceLosses;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::config::OptimizerSection;
use crate::config::{
    Override, RunSection, ScheduleKind, ScheduleSection, TrainConfig, TrainConfigError,
    at_least_one, keys, not_negative, read_file, want,
};
use crate::grpo::{GrpoConfig, GrpoError};
use crate::rewards::RewardConfig;
use crate::tasks::TaskConfig;

/// The settings of a run: a section for each part of it.
///
/// ```
/// use latent_train::rl::RlConfig;
/// let text = r#"
///     [base]
///     model = "runs/base/step-00004000"
///     [task]
///     kind.sum = { terms = 4, max_digits = 2 }
///     [reward]
///     template = "tiny"
///     [grpo]
///     num_generation = 8
/// "#;
/// let error = RlConfig::from_toml(text, &[]).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "grpo.num_generation: unknown key; did you mean grpo.num_generations?"
/// );
/// let config = RlConfig::from_toml(&text.replace("generation ", "generations "), &[])?;
/// assert_eq!(config.grpo.num_generations, 8);
/// # Ok::<(), latent_train::config::TrainConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlConfig {
    /// What is trained.
    pub base: BaseSection,
    /// What is asked.
    pub task: TaskConfig,
    /// What is paid for.
    #[serde(default)]
    pub reward: RewardConfig,
    /// What is learned from rewards.
    #[serde(default)]
    pub grpo: GrpoConfig,
    /// How answers are drawn.
    #[serde(default)]
    pub rollout: RolloutSection,
    /// What keeps experts even.
    #[serde(default)]
    pub balance: BalanceSection,
    /// What moves the weights.
    #[serde(default)]
    pub optimizer: OptimizerSection,
    /// How the learning rate goes; without the section it stays where it is, as DeepSeek-R1-Zero's does.
    #[serde(default = "constant")]
    pub schedule: ScheduleSection,
    /// How long, and where things go. `eval_batches` has no meaning: an evaluation asks all questions that are
    /// held out.
    #[serde(default)]
    pub run: RunSection,
}

fn constant() -> ScheduleSection {
    ScheduleSection { kind: ScheduleKind::Constant, ..ScheduleSection::default() }
}

/// `[base]`: what is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSection {
    /// The folder of a model with its tokenizer.
    pub model: PathBuf,
    /// The weight of the cross-entropy of answers that its layers for multi-token prediction are trained along by,
    /// apart from all others: no bit of these depends on it. At 0 the layers are left out.
    #[serde(default)]
    pub mtp_weight: f64,
}

/// `[rollout]`: how answers are drawn, and how many are computed at once.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutSection {
    /// The questions of a step; each gets `grpo.num_generations` answers.
    pub questions: usize,
    /// How often as many questions again may be drawn in place of those whose answers all earn the same: DAPO's
    /// dynamic sampling. At 0 these stay.
    pub dynamic_sampling: usize,
    /// How many answers go on at once on each thread of a rollout. It changes no bit.
    pub batch_size: usize,
    /// From how many answers gradients are computed at once.
    pub micro_batch_size: usize,
    /// For how many tokens logits are held at once.
    pub logits_chunk: usize,
    /// What logits are divided by in evaluations; absent, `grpo.temperature`. At 0 the largest wins.
    pub eval_temperature: Option<f64>,
    /// How many answers of an evaluation are kept for people to read.
    pub samples: usize,
}

impl Default for RolloutSection {
    fn default() -> Self {
        Self {
            questions: 16,
            dynamic_sampling: 0,
            batch_size: 32,
            micro_batch_size: 32,
            logits_chunk: 1024,
            eval_temperature: None,
            samples: 8,
        }
    }
}

/// `[balance]`: what keeps experts even.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct BalanceSection {
    /// The coefficient of V3's loss on routers, per sequence.
    pub sequence_loss_alpha: f64,
    /// That of V2's.
    pub aux_loss_alpha: f64,
    /// That of the z-loss.
    pub z_loss_alpha: f64,
    /// How far a router's bias moves in a step; absent, 1e-3 as in V3 where gates have biases.
    pub bias_update_speed: Option<f64>,
    /// Whether the mean of a router's biases is taken off after each step.
    pub center_biases: bool,
}

impl BalanceSection {
    /// The losses on routers.
    #[must_use]
    pub fn losses(&self) -> BalanceLosses {
        let Self { sequence_loss_alpha, aux_loss_alpha, z_loss_alpha, .. } = *self;
        BalanceLosses { seq_aux: aux_loss_alpha, sequence: sequence_loss_alpha, z: z_loss_alpha }
    }

    fn validate(&self) -> Result<(), TrainConfigError> {
        not_negative("balance.sequence_loss_alpha", self.sequence_loss_alpha)?;
        not_negative("balance.aux_loss_alpha", self.aux_loss_alpha)?;
        not_negative("balance.z_loss_alpha", self.z_loss_alpha)?;
        not_negative("balance.bias_update_speed", self.bias_update_speed.unwrap_or(0.0))
    }
}

impl RlConfig {
    /// Reads a file, with some settings replaced.
    ///
    /// # Errors
    /// [`TrainConfigError::File`] with the file, around the error of [`from_toml`](Self::from_toml)
    /// or of the system.
    pub fn from_file(path: &Path, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        read_file(path, |text| Self::from_toml(text, overrides))
    }

    /// Reads the text of a file, with some settings replaced.
    ///
    /// # Errors
    /// [`TrainConfigError::Syntax`] with the line when the text is no TOML,
    /// [`TrainConfigError::UnknownKey`], [`TrainConfigError::Type`] for a value of another type or a
    /// key that is absent, and as [`validate`](Self::validate).
    pub fn from_toml(text: &str, overrides: &[Override]) -> Result<Self, TrainConfigError> {
        Self::from_table(TrainConfig::table(text, overrides)?)
    }

    /// The settings that a table says.
    pub(super) fn from_table(table: Table) -> Result<Self, TrainConfigError> {
        check_keys(&table)?;
        let config = Self::deserialize(Value::Table(table));
        let config = config.map_err(|error| TrainConfigError::of_type(&error))?;
        config.validate()?;
        Ok(config)
    }

    /// All settings as TOML, those that are not given with their defaults.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "every setting has a name and a value of TOML")]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("see above")
    }

    /// Proves that every setting is in its range; those of the task are proved when its problems are made.
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] with the key, its value and what is wanted;
    /// [`TrainConfigError::NoMeaning`] for a key that something else makes idle.
    pub fn validate(&self) -> Result<(), TrainConfigError> {
        self.reward.rules()?;
        self.grpo.validate().map_err(of_grpo)?;
        self.rollout.validate()?;
        self.balance.validate()?;
        not_negative("base.mtp_weight", self.base.mtp_weight)?;
        self.optimizer.validate()?;
        self.run.validate()?;
        self.schedule.resolve(self.run.steps)?;
        if self.run.eval_batches.is_some() {
            let because = "here: task.held_out_problems says how many questions there are".into();
            return Err(TrainConfigError::NoMeaning { field: "run.eval_batches", because });
        }
        want(
            self.grpo.temperature <= 100.0,
            "grpo.temperature",
            self.grpo.temperature,
            "at most 100",
        )?;
        want(!self.base.model.as_os_str().is_empty(), "base.model", "nothing", "a folder")
    }
}

impl RolloutSection {
    fn validate(&self) -> Result<(), TrainConfigError> {
        at_least_one("rollout.questions", self.questions as u64)?;
        at_least_one("rollout.batch_size", self.batch_size as u64)?;
        at_least_one("rollout.micro_batch_size", self.micro_batch_size as u64)?;
        at_least_one("rollout.logits_chunk", self.logits_chunk as u64)?;
        let temperature = self.eval_temperature.unwrap_or(1.0);
        let holds = (0.0..=100.0).contains(&temperature);
        want(holds, "rollout.eval_temperature", temperature, "from 0 to 100")
    }
}

/// Proves that every key of a file is one of its section's.
fn check_keys(table: &Table) -> Result<(), TrainConfigError> {
    let sections = [
        ("", keys::keys_of::<RlConfig>()),
        ("base", keys::keys_of::<BaseSection>()),
        ("task", keys::keys_of::<TaskConfig>()),
        ("reward", keys::keys_of::<RewardConfig>()),
        ("grpo", keys::keys_of::<GrpoConfig>()),
        ("rollout", keys::keys_of::<RolloutSection>()),
        ("balance", keys::keys_of::<BalanceSection>()),
        ("optimizer", keys::keys_of::<OptimizerSection>()),
        ("schedule", keys::keys_of::<ScheduleSection>()),
        ("run", keys::keys_of::<RunSection>()),
    ];
    keys::check(table, &sections)?;
    table.get("task").map_or(Ok(()), TaskConfig::check_keys)
}

/// An error of the objective's settings, with their section.
fn of_grpo(error: GrpoError) -> TrainConfigError {
    match error {
        GrpoError::Setting { field, found, wanted } => TrainConfigError::Type {
            field: format!("grpo.{field}"),
            detail: format!("found {found}, want {wanted}"),
        },
        other => TrainConfigError::Type { field: "grpo".into(), detail: other.to_string() },
    }
}
