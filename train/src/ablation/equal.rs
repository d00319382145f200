//! Variants of equal size.

use latent_model::config::ModelConfig;
use serde::{Deserialize, Serialize};

use crate::config::{TrainConfig, TrainConfigError};

/// What variants have as much of as the settings do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Equal {
    /// All parameters.
    #[default]
    Total,
    /// The parameters that one token uses.
    Active,
    /// Nothing: widths stay as they are.
    None,
}

/// The widest feed-forward block that is tried.
const MAX_WIDTH: usize = 1 << 20;

impl Equal {
    /// `variant` with the width of its feed-forward blocks chosen so that its size is as near as can be to
    /// that of `base`: the width of an expert, or that of the block where there are no experts. Dense layers
    /// in front of experts stay.
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] when the variant is larger than `base` even with a width of 1, by more
    /// than a hundredth, or a width of 2^20 is not enough; [`TrainConfigError::Model`] for a model that
    /// cannot be.
    pub fn apply(
        self,
        base: &TrainConfig,
        variant: TrainConfig,
    ) -> Result<TrainConfig, TrainConfigError> {
        if self == Self::None {
            return Ok(variant);
        }
        let target = self.size(base)?;
        let (mut low, mut high) = (1, 1);
        while self.size(&with_width(&variant, high))? < target {
            (low, high) = (high, 2 * high);
            if high > MAX_WIDTH {
                return Err(self.out_of_reach(&variant, target, high));
            }
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.size(&with_width(&variant, middle))? < target {
                true => low = middle,
                false => high = middle,
            }
        }
        let away = |width| self.size(&with_width(&variant, width)).map(|n| n.abs_diff(target));
        let (below, above) = (away(low)?, away(high)?);
        let (width, off) = if below <= above { (low, below) } else { (high, above) };
        if width == 1 && off > target / 100 {
            return Err(self.out_of_reach(&variant, target, 1));
        }
        Ok(with_width(&variant, width))
    }

    fn size(self, config: &TrainConfig) -> Result<u64, TrainConfigError> {
        let model = size_of(config)?;
        Ok(match self {
            Self::Active => model.active_parameters(),
            Self::Total | Self::None => model.total_parameters(),
        })
    }

    fn out_of_reach(self, variant: &TrainConfig, target: u64, width: usize) -> TrainConfigError {
        let size = self.size(&with_width(variant, width)).unwrap_or(0);
        let kind = if self == Self::Active { "active" } else { "total" };
        TrainConfigError::setting(
            "ablation.equal",
            format!("{size} {kind} parameters with a feed-forward of width {width}"),
            format!(
                "about {target}, as the settings have; another size of attention, or equal = \"none\""
            ),
        )
    }
}

/// The model. The vocabulary adds the same to all, so it need not be known.
fn size_of(config: &TrainConfig) -> Result<ModelConfig, TrainConfigError> {
    config.model.to_config(257, 0, config.data.seq_len)
}

fn with_width(config: &TrainConfig, width: usize) -> TrainConfig {
    let mut config = config.clone();
    match &mut config.model.experts {
        Some(experts) => experts.moe_intermediate_size = width,
        None => config.model.intermediate_size = width,
    }
    config
}
