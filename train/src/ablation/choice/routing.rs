//! The axis of what keeps experts even.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::experts::section;
use super::{number, split, write};
use crate::config::{ScoringKind, TopkKind, TrainConfig, TrainConfigError};

/// What keeps experts even. Losses of the settings on routers do not count here, but for the z-loss.
///
/// | word | scores | what keeps experts even |
/// | --- | --- | --- |
/// | `none` | sigmoid | nothing |
/// | `aux`, `aux:0.01` | softmax | V2's loss with this coefficient; else the settings', or 0.003 as in V2 |
/// | `bias`, `bias:0.001` | sigmoid | V3's rule with this speed; else the settings', or 0.001 as in V3 |
///
/// # Source
/// DeepSeek-V2 (arXiv 2405.04434), section 2.2.3; DeepSeek-V3 (arXiv 2412.19437), section 2.1.2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RoutingChoice {
    /// `none`.
    None,
    /// `aux`, with its coefficient.
    Aux(Option<f64>),
    /// `bias`, with its speed.
    Bias(Option<f64>),
}

/// V2's coefficient of its loss for each expert.
const AUX_LOSS_ALPHA: f64 = 0.003;

impl FromStr for RoutingChoice {
    type Err = TrainConfigError;

    fn from_str(text: &str) -> Result<Self, TrainConfigError> {
        let axis = "ablation.routing";
        let wanted = "none, aux, aux:ALPHA, bias or bias:SPEED, of a finite number above 0";
        let (word, size) = split(text);
        let size: Option<f64> = number(axis, text, size, wanted)?;
        match (word, size) {
            (_, Some(size)) if !(size > 0.0 && size.is_finite()) => {}
            ("none", None) => return Ok(Self::None),
            ("aux", alpha) => return Ok(Self::Aux(alpha)),
            ("bias", speed) => return Ok(Self::Bias(speed)),
            _ => {}
        }
        Err(TrainConfigError::setting(axis, format!("{text:?}"), wanted))
    }
}

impl fmt::Display for RoutingChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::None => f.write_str("none"),
            Self::Aux(alpha) => write(f, "aux", alpha),
            Self::Bias(speed) => write(f, "bias", speed),
        }
    }
}

impl RoutingChoice {
    pub(in crate::ablation) fn apply(
        self,
        config: &mut TrainConfig,
    ) -> Result<(), TrainConfigError> {
        let (alpha, speed) = (config.loss.aux_loss_alpha, config.loss.bias_update_speed);
        let center = config.loss.center_biases;
        let experts = section("ablation.routing", config)?;
        (experts.scoring_func, experts.topk_method) = match self {
            Self::Aux(_) if experts.n_group > 1 => {
                (ScoringKind::Softmax, TopkKind::GroupLimitedGreedy)
            }
            Self::Aux(_) => (ScoringKind::Softmax, TopkKind::Greedy),
            Self::None | Self::Bias(_) => (ScoringKind::Sigmoid, TopkKind::NoauxTc),
        };
        let loss = &mut config.loss;
        loss.sequence_loss_alpha = 0.0;
        if !matches!(self, Self::Bias(None)) {
            loss.bias_update_speed_late = None;
        }
        (loss.aux_loss_alpha, loss.bias_update_speed, loss.center_biases) = match self {
            Self::None => (0.0, Some(0.0), false),
            Self::Aux(given) => {
                let default = if alpha > 0.0 { alpha } else { AUX_LOSS_ALPHA };
                (given.unwrap_or(default), None, false)
            }
            Self::Bias(given) => (0.0, given.or(speed), center),
        };
        Ok(())
    }
}
