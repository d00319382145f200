//! The axis of attention.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{number, split, write};
use crate::config::{AttentionKind, TrainConfig, TrainConfigError};

/// Which attention, with heads as wide as those of the settings.
///
/// | word | what |
/// | --- | --- |
/// | `mha` | keys and values for each head |
/// | `gqa`, `gqa:2` | for so many groups of heads; a quarter of the heads, at least 2, where no number is given |
/// | `mqa` | for all heads together |
/// | `mla`, `mla:32` | a latent of so many elements |
///
/// A head of `mha`, `gqa` and `mqa` is as wide as a value of `mla` is, `v_head_dim`, as in
/// DeepSeek-V2's comparison. Where the settings have another attention than `mla`, its sizes follow from
/// the width `d` of a head as V2's do: `d` and `d / 2` for the parts of a key, `d` for a value, `4 d` for
/// the latent.
///
/// # Source
/// DeepSeek-V2 (arXiv 2405.04434), section 3.1.2 and appendix D.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum AttentionChoice {
    /// `mha`.
    Mha,
    /// `gqa`, with the number of groups.
    Gqa(Option<usize>),
    /// `mqa`.
    Mqa,
    /// `mla`, with the width of the latent.
    Mla(Option<usize>),
}

impl FromStr for AttentionChoice {
    type Err = TrainConfigError;

    fn from_str(text: &str) -> Result<Self, TrainConfigError> {
        let (axis, wanted) = ("ablation.attention", "mha, gqa, gqa:GROUPS, mqa, mla or mla:RANK");
        let (word, size) = split(text);
        let size = number(axis, text, size, wanted)?;
        match (word, size) {
            ("mha", None) => Ok(Self::Mha),
            ("gqa", groups) => Ok(Self::Gqa(groups)),
            ("mqa", None) => Ok(Self::Mqa),
            ("mla", rank) => Ok(Self::Mla(rank)),
            _ => Err(TrainConfigError::setting(axis, format!("{text:?}"), wanted)),
        }
    }
}

impl fmt::Display for AttentionChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Mha => f.write_str("mha"),
            Self::Gqa(groups) => write(f, "gqa", groups),
            Self::Mqa => f.write_str("mqa"),
            Self::Mla(rank) => write(f, "mla", rank),
        }
    }
}

impl AttentionChoice {
    pub(in crate::ablation) fn apply(
        self,
        config: &mut TrainConfig,
    ) -> Result<(), TrainConfigError> {
        let model = &mut config.model;
        let heads = model.num_attention_heads;
        let width = match (model.v_head_dim, model.head_dim) {
            (Some(width), _) | (None, Some(width)) => width,
            (None, None) => model.hidden_size / heads.max(1),
        };
        if let Self::Mla(rank) = self {
            model.attention = AttentionKind::Mla;
            model.kv_lora_rank = rank.or(model.kv_lora_rank).or(Some(4 * width));
            model.qk_nope_head_dim = model.qk_nope_head_dim.or(Some(width));
            model.qk_rope_head_dim = model.qk_rope_head_dim.or(Some(width / 2));
            model.v_head_dim = Some(width);
            (model.num_key_value_heads, model.head_dim) = (None, None);
            return Ok(());
        }
        let groups = match self {
            Self::Gqa(groups) => Some(groups.unwrap_or((heads / 4).max(2).min(heads))),
            _ => None,
        };
        model.attention = match self {
            Self::Mha => AttentionKind::Mha,
            Self::Mqa => AttentionKind::Mqa,
            Self::Gqa(_) | Self::Mla(_) => AttentionKind::Gqa,
        };
        (model.num_key_value_heads, model.head_dim) = (groups, Some(width));
        (model.q_lora_rank, model.kv_lora_rank) = (None, None);
        (model.qk_nope_head_dim, model.qk_rope_head_dim, model.v_head_dim) = (None, None, None);
        Ok(())
    }
}
