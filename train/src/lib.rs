//! Training of small DeepSeek-style models.
//!
//! | you want | look at |
//! | --- | --- |
//! | a whole run, from a TOML file to a model that generates | [`train`], [`config`] |
//! | variants of a model beside each other | [`ablation`] |
//! | the same step by step | [`Prepared`], [`Trainer`] |
//! | checkpoints, and to go on from one | [`checkpoint`] |
//! | a checkpoint as a model to give away | [`export()`] |
//! | many continuations at once, with their probabilities | [`rollout`] |
//! | text to train on, as batches of tokens | [`data`] |
//! | a text to begin with | [`PUBLIC_DOMAIN_TEXT`] |
//! | first weights | [`initial_weights`] |
//! | all weights of a model, by their published names | [`Parameters`] |
//! | a loss and its gradient by every weight | [`gradients`], [`LossConfig`] |
//! | a model that learns from rewards by rule, from a TOML file | [`rl`] |
//! | to learn from rewards: advantages, the objective, its gradient | [`grpo`] |
//! | to move weights by their gradients | [`Optimizer`]: [`AdamW`], [`Muon`] |
//! | to say which weight is moved by what, and which are decayed | [`Assignment`] |
//! | to keep experts even without a loss | [`update_biases`], [`Loads`] |
//! | to bound a gradient's norm | [`clip_global_norm`] |
//! | the learning rate of a step | [`Schedule`] |
//! | questions whose answers a rule can check | [`tasks`] |
//! | what a completion earns for its form and its answer | [`rewards`] |

mod embedded;
mod error;
mod export;
mod hash;
mod init;
mod loss;
mod optimizer;
mod parameters;
mod random;
mod rational;
mod rollout;
mod routes;
mod run;
mod schedule;
mod team;
mod trainer;

pub mod ablation;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod grpo;
pub mod rewards;
pub mod rl;
pub mod tasks;

pub use embedded::{CLAIMS_TOML, PUBLIC_DOMAIN_TEXT, ZERO_TOML};
pub use error::TrainError;
pub use export::{Exported, export};
pub use init::initial_weights;
pub use latent_model as model;
pub use loss::{LossConfig, Losses, Sequence, gradients};
pub use optimizer::{
    AdamW, Assignment, Decay, HiddenMatrices, Muon, OptimError, Optimizer, OptimizerConfig,
    OptimizerState, Update, clip_global_norm, orthogonalise,
};
pub use parameters::{Array, Parameters};
pub use rollout::{Continuation, RolloutConfig, rollout};
pub use run::{METRICS_FILE, Outcome, Watch, train};
pub use schedule::{Cooldown, Schedule};
pub use trainer::{
    Evaluation, Loads, Prepared, StepReport, TrainStepError, Trainer, update_biases,
};
