//! `[reward]`: what is paid for.

use serde::{Deserialize, Serialize};

use super::form::Form;
use super::judge::{Overlong, Payment, Rules};
use super::{OverlongKind, Script, Template};
use crate::config::{TrainConfigError, want};

/// The largest weight of a part of a reward.
const MAX_WEIGHT: f64 = 1000.0;

/// The settings of a reward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// How form and match come together.
    pub mode: ModeKind,
    /// What a right answer is worth.
    pub match_weight: f64,
    /// Of `added`: what the right form is worth; absent, 1, as much as the paper says.
    pub form_weight: Option<f64>,
    /// What stands around a question: `r1`, `tiny`, or a text with `{question}` in it.
    pub template: String,
    /// Whether completions begin inside of `<think>`; absent, where the template ends with it.
    pub begins_inside: Option<bool>,
    /// Whether the form is right without a thought.
    pub empty_thinking: bool,
    /// What becomes of completions that are too long.
    pub overlong: OverlongKind,
    /// Of `soft`: the tokens from which on the punishment is -1.
    pub max_tokens: Option<u64>,
    /// Of `soft`: the tokens before those in which the punishment grows.
    pub cache_tokens: Option<u64>,
    /// The script that thoughts are to be in; absent, any.
    pub language: Option<Script>,
    /// With `language`: what thoughts are worth that are in it alone; absent, 1.
    pub language_weight: Option<f64>,
}

/// How form and match come together: `reward.mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeKind {
    /// A right answer counts in the right form alone, and nothing else does.
    Gated,
    /// Each is paid for by itself, as DeepSeek-R1-Zero's are.
    Added,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            mode: ModeKind::Gated,
            match_weight: 1.0,
            form_weight: None,
            template: "r1".into(),
            begins_inside: None,
            empty_thinking: false,
            overlong: OverlongKind::Judged,
            max_tokens: None,
            cache_tokens: None,
            language: None,
            language_weight: None,
        }
    }
}

impl RewardConfig {
    /// The rules of these settings.
    ///
    /// # Errors
    /// [`TrainConfigError::Setting`] for a weight that is not from 0 to 1000, tokens out of range, or a
    /// template without `{question}`, [`TrainConfigError::NoMeaning`] for a key that belongs to another
    /// mode, [`TrainConfigError::Missing`] for `soft` without its tokens.
    pub fn rules(&self) -> Result<Rules, TrainConfigError> {
        self.check_meaning()?;
        let template = Template::new(&self.template)?;
        let begins_inside = self.begins_inside.unwrap_or_else(|| template.begins_inside());
        let match_weight = weight("reward.match_weight", self.match_weight)?;
        let form_weight = weight("reward.form_weight", self.form_weight.unwrap_or(1.0))?;
        let language_weight =
            weight("reward.language_weight", self.language_weight.unwrap_or(1.0))?;
        Ok(Rules {
            form: Form { begins_inside, empty_thinking: self.empty_thinking },
            template,
            payment: match self.mode {
                ModeKind::Gated => Payment::Gated,
                ModeKind::Added => Payment::Added { form_weight },
            },
            match_weight,
            overlong: self.overlong()?,
            language: self.language.map(|script| (script, language_weight)),
        })
    }

    fn overlong(&self) -> Result<Overlong, TrainConfigError> {
        match self.overlong {
            OverlongKind::Judged => Ok(Overlong::Judged),
            OverlongKind::Hard => Ok(Overlong::Hard),
            OverlongKind::Soft => {
                let given = |field, tokens: Option<u64>| {
                    let because = r#"overlong = "soft" wants it"#.into();
                    tokens.ok_or(TrainConfigError::Missing { field, because })
                };
                let max = given("reward.max_tokens", self.max_tokens)?;
                let cache = given("reward.cache_tokens", self.cache_tokens)?;
                want(max > 0, "reward.max_tokens", max, "at least 1")?;
                let wanted = format!("from 1 to max_tokens, {max}");
                want((1..=max).contains(&cache), "reward.cache_tokens", cache, wanted)?;
                Ok(Overlong::Soft { max, cache })
            }
        }
    }

    /// Proves that no key is given that others make idle.
    fn check_meaning(&self) -> Result<(), TrainConfigError> {
        let soft = self.overlong == OverlongKind::Soft;
        let gated = self.mode == ModeKind::Gated;
        let each = [
            ("reward.form_weight", self.form_weight.is_some() && gated, r#"with mode = "gated""#),
            (
                "reward.max_tokens",
                self.max_tokens.is_some() && !soft,
                r#"but with overlong = "soft""#,
            ),
            (
                "reward.cache_tokens",
                self.cache_tokens.is_some() && !soft,
                r#"but with overlong = "soft""#,
            ),
            (
                "reward.language_weight",
                self.language_weight.is_some() && self.language.is_none(),
                "without language",
            ),
        ];
        match each.into_iter().find(|&(_, idle, _)| idle) {
            None => Ok(()),
            Some((field, _, because)) => {
                Err(TrainConfigError::NoMeaning { field, because: because.into() })
            }
        }
    }
}

/// Proves that a weight is a number that no sum makes infinite.
fn weight(field: &'static str, value: f64) -> Result<f64, TrainConfigError> {
    want((0.0..=MAX_WEIGHT).contains(&value), field, value, format!("from 0 to {MAX_WEIGHT}"))?;
    Ok(value)
}
