//! Reinforcement learning from rewards by rule: DeepSeek-R1-Zero's recipe, for models of any size.
//!
//! A step draws questions, lets the model answer each some times, judges the answers by rule, and moves the
//! weights so that answers which earn more than the others to the same question become more probable. What
//! draws answers and what learns from them is one model with one arithmetic: in the first update by a batch the
//! ratio of new to old probabilities is exactly 1 for every token, and a step fails where it is not.
//!
//! | you want | look at |
//! | --- | --- |
//! | a whole run, from a TOML file to a model that generates | [`rl`], [`RlConfig`] |
//! | variants with some seeds each | [`RlPlan`] |
//! | the same step by step | [`RlPrepared`], [`RlTrainer`] |
//! | what a step did | [`RlStepReport`], [`AnswerStats`] |
//! | how a model answers questions that are held out | [`RlEvaluation`] |
//! | what a run was like, from its folder | [`read_history`], [`RlHistory`] |
//!
//! # Source
//! DeepSeek-R1 (arXiv 2501.12948), section 2.2.

mod answers;
mod asked;
mod config;
mod evaluation;
mod history;
mod metrics;
mod plan;
mod prepared;
mod questions;
mod run;
mod stats;
mod trainer;
mod update;

pub use answers::{Answer, Group};
pub use config::{BalanceSection, BaseSection, RlConfig, RolloutSection};
pub use evaluation::{RlEvaluation, Sample, Verdict};
pub use history::{Reached, RlHistory, RlStepPoint, read_history, read_settings};
pub use plan::RlPlan;
pub use prepared::RlPrepared;
pub use run::{RlOutcome, RlWatch, rl};
pub use stats::AnswerStats;
pub use trainer::{RlStepReport, RlTimes, RlTrainer};
