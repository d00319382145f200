//! Where a variant stands on each axis, and what that makes of the settings.

use serde::{Deserialize, Serialize};

use super::choice::{AttentionChoice, ExpertsChoice, FeedForward, RoutingChoice};
use crate::config::{TrainConfig, TrainConfigError};

/// Where a variant stands on each axis; where it says nothing, it is as the settings are.
///
/// ```
/// use latent_train::ablation::Point;
/// use latent_train::config::TrainConfig;
/// let base = TrainConfig::from_toml(include_str!("../../tiny.toml"), &[])?;
/// let point = Point { attention: Some("gqa:2".parse()?), ..Point::default() };
/// let found = point.apply(&base)?;
/// assert_eq!(found.model.num_key_value_heads, Some(2));
/// assert_eq!(point.name(), "gqa:2");
/// # Ok::<(), latent_train::config::TrainConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Point {
    /// Which attention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionChoice>,
    /// A dense feed-forward, or experts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feed_forward: Option<FeedForward>,
    /// What keeps experts even.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routing: Option<RoutingChoice>,
    /// How finely experts are cut, and whether some are shared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub experts: Option<ExpertsChoice>,
    /// Whether one layer predicts the token after the next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtp: Option<bool>,
    /// Other settings, each as `KEY=VALUE`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
}

impl Point {
    /// The settings of this point, where `base` has those of the rest. What stands in `set` is part of
    /// `base` already.
    ///
    /// # Errors
    /// [`TrainConfigError::NoMeaning`] when an axis of experts is given and the model has none, and
    /// those of the choices and of [`TrainConfig::validate`].
    pub fn apply(&self, base: &TrainConfig) -> Result<TrainConfig, TrainConfigError> {
        let mut config = base.clone();
        if let Some(attention) = &self.attention {
            attention.apply(&mut config)?;
        }
        if let Some(feed_forward) = self.feed_forward {
            feed_forward.apply(&mut config)?;
        }
        if let Some(experts) = &self.experts {
            experts.apply(&mut config)?;
        }
        if let Some(routing) = &self.routing {
            routing.apply(&mut config)?;
        }
        if let Some(mtp) = self.mtp {
            config.model.num_nextn_predict_layers = usize::from(mtp);
            if !mtp {
                (config.loss.mtp_weight, config.loss.mtp_weight_late) = (None, None);
            }
        }
        config.validate()?;
        Ok(config)
    }

    /// The point without what says nothing in a dense model.
    pub(super) fn without_idle(mut self, base: &TrainConfig) -> Self {
        let dense = match self.feed_forward {
            None => base.model.experts.is_none(),
            Some(kind) => kind == FeedForward::Dense,
        };
        if dense {
            self.experts = None;
            self.routing = None;
        }
        self
    }

    /// What it says, in short: `mla:32-moe-bias`; `base` where it says nothing.
    #[must_use]
    pub fn name(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.attention.map(|choice| choice.to_string()));
        parts.extend(self.feed_forward.map(|choice| choice.to_string()));
        parts.extend(self.experts.map(|choice| choice.to_string()));
        parts.extend(self.routing.map(|choice| choice.to_string()));
        parts.extend(self.mtp.map(|on| if on { "mtp" } else { "no-mtp" }.to_owned()));
        let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
        parts.extend(self.set.iter().map(|setting| match setting.split_once('=') {
            Some((key, value)) => format!("{}={}", last(key.trim()), value.trim()),
            None => setting.clone(),
        }));
        if parts.is_empty() { "base".into() } else { parts.join("-") }
    }
}
