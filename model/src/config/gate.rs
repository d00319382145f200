//! The mixtures of experts and their gate.

use latent_moe::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};

use super::fields::Fields;
use super::json::Json;
use super::{ConfigError, ModelType, MoeLayout};

pub(super) const SCORING_FUNCS: &[(&str, ScoringFunc)] = &[
    ("softmax", ScoringFunc::Softmax),
    ("sigmoid", ScoringFunc::Sigmoid),
    ("sqrtsoftplus", ScoringFunc::SqrtSoftplus),
];

/// `topk_method` without its groups.
#[derive(Clone, Copy, PartialEq)]
enum Method {
    Greedy,
    GroupLimitedGreedy,
    NoauxTc,
}

const TOPK_METHODS: &[(&str, Method)] = &[
    ("greedy", Method::Greedy),
    ("group_limited_greedy", Method::GroupLimitedGreedy),
    ("noaux_tc", Method::NoauxTc),
];

/// What the published configuration class of a family says where a key is absent.
struct Defaults {
    method: Method,
    scoring_func: ScoringFunc,
    norm_topk_prob: bool,
    routed_scaling_factor: f64,
}

/// `None` for a dense model: `n_routed_experts` is absent or null, as it has to be in Llama.
pub(super) fn parse(
    fields: &Fields<'_>,
    model_type: ModelType,
    hidden_size: usize,
) -> Result<Option<MoeLayout>, ConfigError> {
    let Some(n_routed_experts) = fields.optional_size("n_routed_experts")? else {
        return Ok(None);
    };
    let defaults = match model_type {
        ModelType::Llama => {
            let supported = "null in llama, which is dense; deepseek has experts";
            let found = Json::Integer(n_routed_experts as i128);
            return Err(fields.unsupported("n_routed_experts", &found, supported));
        }
        ModelType::Deepseek | ModelType::DeepseekV2 => Defaults {
            method: Method::Greedy,
            scoring_func: ScoringFunc::Softmax,
            norm_topk_prob: false,
            routed_scaling_factor: 1.0,
        },
        ModelType::DeepseekV3 | ModelType::KimiK2 => Defaults {
            method: Method::NoauxTc,
            scoring_func: ScoringFunc::Sigmoid,
            norm_topk_prob: true,
            routed_scaling_factor: 2.5,
        },
    };
    let scale = match fields.object.get("routed_scaling_factor") {
        None => defaults.routed_scaling_factor,
        Some(_) => fields.number("routed_scaling_factor")?,
    };
    let gate = GateConfig {
        n_routed_experts,
        num_experts_per_tok: fields.size("num_experts_per_tok")?,
        scoring_func: fields.choice("scoring_func", SCORING_FUNCS, Some(defaults.scoring_func))?,
        topk_method: method(fields, defaults.method)?,
        norm_topk_prob: fields.flag("norm_topk_prob", defaults.norm_topk_prob)?,
        routed_scaling_factor: scale,
    };
    Ok(Some(MoeLayout {
        config: MoeConfig {
            hidden_size,
            moe_intermediate_size: fields.size("moe_intermediate_size")?,
            n_shared_experts: fields.nullable_size("n_shared_experts")?.unwrap_or(0),
            gate,
        },
        first_k_dense_replace: fields.size("first_k_dense_replace")?,
        moe_layer_freq: fields.optional_size("moe_layer_freq")?.unwrap_or(1),
    }))
}

/// The groups of a method that has them; null is one group.
fn method(fields: &Fields<'_>, default: Method) -> Result<TopkMethod, ConfigError> {
    let method = fields.choice("topk_method", TOPK_METHODS, Some(default))?;
    if method == Method::Greedy {
        return Ok(TopkMethod::Greedy);
    }
    let n_group = fields.nullable_size("n_group")?.unwrap_or(1);
    let topk_group = fields.nullable_size("topk_group")?.unwrap_or(1);
    Ok(match method {
        Method::NoauxTc => TopkMethod::NoauxTc { n_group, topk_group },
        _ => TopkMethod::GroupLimitedGreedy { n_group, topk_group },
    })
}
