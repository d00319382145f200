//! `[optimizer]`: what moves the weights.

use serde::{Deserialize, Serialize};

use super::TrainConfigError;
use super::error::{not_negative, want};
use crate::{AdamW, Assignment, Decay, HiddenMatrices, Muon, OptimizerConfig};

/// What moves the weights. The defaults are DeepSeek-V3's, but for the learning rate, which is one for
/// small models.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSection {
    /// The peak of the learning rate.
    pub learning_rate: f64,
    /// What moves the matrices of hidden layers; all else is moved by AdamW.
    pub hidden_matrices: MatricesKind,
    /// AdamW's mean of gradients.
    pub beta1: f64,
    /// AdamW's mean of squares.
    pub beta2: f64,
    /// What AdamW adds to a root.
    pub eps: f64,
    /// The share of a weight that is taken off in a step, per unit of learning rate.
    pub weight_decay: f64,
    /// What weight decay shrinks.
    pub decay: DecayKind,
    /// Muon's mean of gradients.
    pub momentum: f64,
    /// The largest norm of all gradients together.
    pub max_grad_norm: f64,
}

/// What moves the matrices of hidden layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MatricesKind {
    /// [`AdamW`].
    AdamW,
    /// [`Muon`].
    Muon,
}

/// What weight decay shrinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecayKind {
    /// [`Decay::Matrices`].
    Matrices,
    /// [`Decay::Everything`].
    Everything,
}

impl Default for OptimizerSection {
    fn default() -> Self {
        let (AdamW { beta1, beta2, eps, weight_decay }, Muon { momentum, .. }) = Default::default();
        Self {
            learning_rate: 1e-3,
            hidden_matrices: MatricesKind::AdamW,
            beta1,
            beta2,
            eps,
            weight_decay,
            decay: DecayKind::Matrices,
            momentum,
            max_grad_norm: 1.0,
        }
    }
}

impl OptimizerSection {
    /// The settings of an [`Optimizer`](crate::Optimizer).
    #[must_use]
    pub fn to_config(&self) -> OptimizerConfig {
        let Self { beta1, beta2, eps, weight_decay, momentum, .. } = *self;
        OptimizerConfig {
            assignment: Assignment {
                hidden_matrices: match self.hidden_matrices {
                    MatricesKind::AdamW => HiddenMatrices::AdamW,
                    MatricesKind::Muon => HiddenMatrices::Muon,
                },
                decay: match self.decay {
                    DecayKind::Matrices => Decay::Matrices,
                    DecayKind::Everything => Decay::Everything,
                },
            },
            adamw: AdamW { beta1, beta2, eps, weight_decay },
            muon: Muon { momentum, weight_decay },
        }
    }

    pub(crate) fn validate(&self) -> Result<(), TrainConfigError> {
        let lr = self.learning_rate;
        let holds = lr > 0.0 && lr.is_finite();
        want(holds, "optimizer.learning_rate", lr, "a finite number above 0")?;
        for (field, mean) in [
            ("optimizer.beta1", self.beta1),
            ("optimizer.beta2", self.beta2),
            ("optimizer.momentum", self.momentum),
        ] {
            want((0.0..1.0).contains(&mean), field, mean, "at least 0 and below 1")?;
        }
        // Below, it is 0 in f32.
        let holds = (f64::from(f32::MIN_POSITIVE)..=1.0).contains(&self.eps);
        want(holds, "optimizer.eps", self.eps, "from 1.2e-38 (the least in f32) to 1")?;
        not_negative("optimizer.weight_decay", self.weight_decay)?;
        let norm = self.max_grad_norm;
        want(norm > 0.0, "optimizer.max_grad_norm", norm, "above 0; inf clips nothing")
    }
}
