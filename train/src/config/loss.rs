//! `[loss]`: what is minimised, and what keeps experts even.

use latent_model::moe::balance::BalanceLosses;
use latent_model::{Form, Keep};
use serde::{Deserialize, Serialize};

use super::error::not_negative;
use super::{Late, ModelSection, TopkKind, TrainConfigError};
use crate::LossConfig;
use crate::config::error::at_least_one;

/// What is added to the cross-entropy of the next token, and the rule on biases.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossSection {
    /// The coefficient of V3's loss on routers, per sequence: see
    /// [`sequence_loss`](latent_model::moe::balance::sequence_loss). V3 has 1e-4.
    pub sequence_loss_alpha: f64,
    /// That of V2's: see [`seq_aux_loss`](latent_model::moe::balance::seq_aux_loss).
    pub aux_loss_alpha: f64,
    /// That of the z-loss: see [`z_loss`](latent_model::moe::balance::z_loss).
    pub z_loss_alpha: f64,
    /// The weight of multi-token prediction; absent, 0.3 where the model has layers for it, as V3
    /// begins.
    pub mtp_weight: Option<f64>,
    /// Another weight from some step on: V3's is 0.1 for the last third.
    pub mtp_weight_late: Option<Late>,
    /// How far a router's bias moves in a step; absent, 1e-3 as in V3 where gates have biases.
    pub bias_update_speed: Option<f64>,
    /// Another speed from some step on: V3's biases stay where they are for the last 3 %.
    pub bias_update_speed_late: Option<Late>,
    /// Whether the mean of a router's biases is taken off after each step. A gate chooses the same
    /// experts, and biases stay small.
    pub center_biases: bool,
    /// For how many tokens logits are held at once.
    pub logits_chunk: usize,
}

impl Default for LossSection {
    fn default() -> Self {
        Self {
            sequence_loss_alpha: 0.0,
            aux_loss_alpha: 0.0,
            z_loss_alpha: 0.0,
            mtp_weight: None,
            mtp_weight_late: None,
            bias_update_speed: None,
            bias_update_speed_late: None,
            center_biases: false,
            logits_chunk: 1024,
        }
    }
}

/// The weight of multi-token prediction that V3 begins with.
const MTP_WEIGHT: f64 = 0.3;

/// The speed of biases that V3 trains with.
pub(crate) const BIAS_UPDATE_SPEED: f64 = 1e-3;

impl LossSection {
    /// The loss of a model, as a run begins.
    #[must_use]
    pub fn to_config(&self, model: &ModelSection, form: Form, keep: Keep) -> LossConfig {
        LossConfig {
            balance: BalanceLosses {
                seq_aux: self.aux_loss_alpha,
                sequence: self.sequence_loss_alpha,
                z: self.z_loss_alpha,
            },
            mtp_weight: self.mtp_weight_at(model, 1),
            form,
            keep,
            logits_chunk: self.logits_chunk,
        }
    }

    /// The weight of multi-token prediction in a step, counted from 1; 0 where a model has no layers
    /// for it.
    ///
    /// # Source
    /// DeepSeek-V3 (arXiv 2412.19437), section 4.2: 0.3 for 10 T tokens, 0.1 for the other 4.8 T.
    #[must_use]
    pub fn mtp_weight_at(&self, model: &ModelSection, step: u64) -> f64 {
        let default = if model.num_nextn_predict_layers > 0 { MTP_WEIGHT } else { 0.0 };
        Late::or(self.mtp_weight_late, self.mtp_weight.unwrap_or(default), step)
    }

    /// How far the biases of a model's routers move in a step, counted from 1; 0 where they have none.
    ///
    /// # Source
    /// DeepSeek-V3 (arXiv 2412.19437), section 4.2: 0.001 for 14.3 T tokens, 0 for the other 500 B.
    #[must_use]
    pub fn gamma_at(&self, model: &ModelSection, step: u64) -> f64 {
        let default = if has_bias(model) { BIAS_UPDATE_SPEED } else { 0.0 };
        Late::or(self.bias_update_speed_late, self.bias_update_speed.unwrap_or(default), step)
    }

    pub(super) fn validate(&self, model: &ModelSection) -> Result<(), TrainConfigError> {
        let alphas = [
            ("loss.sequence_loss_alpha", self.sequence_loss_alpha),
            ("loss.aux_loss_alpha", self.aux_loss_alpha),
            ("loss.z_loss_alpha", self.z_loss_alpha),
        ];
        let no_meaning = |field, because: &str| {
            Err(TrainConfigError::NoMeaning { field, because: because.into() })
        };
        for (field, alpha) in alphas {
            not_negative(field, alpha)?;
            if alpha > 0.0 && model.experts.is_none() {
                return no_meaning(field, "without [model.experts]");
            }
        }
        if let Some(weight) = self.mtp_weight {
            not_negative("loss.mtp_weight", weight)?;
            if weight > 0.0 && model.num_nextn_predict_layers == 0 {
                return no_meaning("loss.mtp_weight", "with model.num_nextn_predict_layers = 0");
            }
        }
        if let Some(late) = self.mtp_weight_late {
            late.validate(["loss.mtp_weight_late.after", "loss.mtp_weight_late.value"])?;
            if model.num_nextn_predict_layers == 0 {
                let because = "with model.num_nextn_predict_layers = 0";
                return no_meaning("loss.mtp_weight_late", because);
            }
        }
        let without = r#"where no gate has biases: they belong to topk_method = "noaux_tc""#;
        if let Some(gamma) = self.bias_update_speed {
            not_negative("loss.bias_update_speed", gamma)?;
            if gamma > 0.0 && !has_bias(model) {
                return no_meaning("loss.bias_update_speed", without);
            }
        }
        if let Some(late) = self.bias_update_speed_late {
            late.validate([
                "loss.bias_update_speed_late.after",
                "loss.bias_update_speed_late.value",
            ])?;
            if !has_bias(model) {
                return no_meaning("loss.bias_update_speed_late", without);
            }
        }
        if self.center_biases && !has_bias(model) {
            return no_meaning("loss.center_biases", without);
        }
        at_least_one("loss.logits_chunk", self.logits_chunk as u64)
    }
}

fn has_bias(model: &ModelSection) -> bool {
    model.experts.as_ref().is_some_and(|experts| experts.topk_method == TopkKind::NoauxTc)
}
