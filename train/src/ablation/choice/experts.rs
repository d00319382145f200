//! The axes of the feed-forward block: dense or experts, and how finely these are cut.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{number, split, write};
use crate::config::{ExpertsSection, TrainConfig, TrainConfigError};

/// A dense feed-forward, or the settings' experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FeedForward {
    /// `dense`.
    Dense,
    /// `moe`.
    Moe,
}

impl FromStr for FeedForward {
    type Err = TrainConfigError;

    fn from_str(text: &str) -> Result<Self, TrainConfigError> {
        match text {
            "dense" => Ok(Self::Dense),
            "moe" => Ok(Self::Moe),
            _ => {
                let found = format!("{text:?}");
                Err(TrainConfigError::setting("ablation.feed_forward", found, "dense or moe"))
            }
        }
    }
}

impl fmt::Display for FeedForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dense => "dense",
            Self::Moe => "moe",
        })
    }
}

impl FeedForward {
    pub(in crate::ablation) fn apply(
        self,
        config: &mut TrainConfig,
    ) -> Result<(), TrainConfigError> {
        match self {
            Self::Moe => section("ablation.feed_forward", config).map(drop),
            Self::Dense => {
                config.model.experts = None;
                let loss = &mut config.loss;
                (loss.sequence_loss_alpha, loss.aux_loss_alpha) = (0.0, 0.0);
                (loss.z_loss_alpha, loss.bias_update_speed) = (0.0, None);
                (loss.bias_update_speed_late, loss.center_biases) = (None, false);
                Ok(())
            }
        }
    }
}

/// How experts are cut. All three have as many parameters, and use as many for a token.
///
/// | word | what |
/// | --- | --- |
/// | `shared` | as in the settings, `n` experts and some that all tokens pass |
/// | `fine` | the shared ones are routed, too, and a token is sent to as many more |
/// | `coarse`, `coarse:2` | of those, each two (or 4, where no number is given) make one that is as much wider |
///
/// # Source
/// DeepSeekMoE (arXiv 2401.06066), section 3 and figure 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ExpertsChoice {
    /// `coarse`, with how many fine ones make one.
    Coarse(Option<usize>),
    /// `fine`.
    Fine,
    /// `shared`.
    Shared,
}

/// How many fine experts make a coarse one: DeepSeekMoE's.
const COARSE: usize = 4;

impl FromStr for ExpertsChoice {
    type Err = TrainConfigError;

    fn from_str(text: &str) -> Result<Self, TrainConfigError> {
        let axis = "ablation.experts";
        let wanted = "coarse, coarse:N with N at least 2, fine or shared";
        let (word, of) = split(text);
        let of = number(axis, text, of, wanted)?;
        match (word, of) {
            ("coarse", of) if of != Some(0) && of != Some(1) => Ok(Self::Coarse(of)),
            ("fine", None) => Ok(Self::Fine),
            ("shared", None) => Ok(Self::Shared),
            _ => Err(TrainConfigError::setting(axis, format!("{text:?}"), wanted)),
        }
    }
}

impl fmt::Display for ExpertsChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Coarse(of) => write(f, "coarse", of),
            Self::Fine => f.write_str("fine"),
            Self::Shared => f.write_str("shared"),
        }
    }
}

impl ExpertsChoice {
    pub(in crate::ablation) fn apply(
        self,
        config: &mut TrainConfig,
    ) -> Result<(), TrainConfigError> {
        let experts = section("ablation.experts", config)?;
        let shared = experts.n_shared_experts;
        if let Self::Shared = self {
            let because = "without model.experts.n_shared_experts".into();
            let none = TrainConfigError::NoMeaning { field: "ablation.experts", because };
            return if shared > 0 { Ok(()) } else { Err(none) };
        }
        experts.n_shared_experts = 0;
        experts.n_routed_experts += shared;
        experts.num_experts_per_tok += shared;
        if let Self::Coarse(of) = self {
            let of = of.unwrap_or(COARSE);
            let counts = [experts.n_routed_experts, experts.num_experts_per_tok];
            if counts.iter().any(|n| !n.is_multiple_of(of)) {
                let found = format!("{self}, of {} experts, {} for a token", counts[0], counts[1]);
                let wanted = format!("multiples of {of}, the shared ones counted");
                return Err(TrainConfigError::setting("ablation.experts", found, wanted));
            }
            experts.n_routed_experts /= of;
            experts.num_experts_per_tok /= of;
            experts.moe_intermediate_size *= of;
        }
        Ok(())
    }
}

/// The settings of experts, which an axis wants.
pub(super) fn section<'a>(
    axis: &'static str,
    config: &'a mut TrainConfig,
) -> Result<&'a mut ExpertsSection, TrainConfigError> {
    let because = "without [model.experts]".into();
    let none = TrainConfigError::NoMeaning { field: axis, because };
    config.model.experts.as_mut().ok_or(none)
}
