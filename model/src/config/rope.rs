//! The rotation, in the released style (`rope_theta`, `rope_scaling`) and in the newer one
//! (`rope_parameters`).

use latent_kernels::{PairLayout, Yarn};
use latent_mla::RopeConfig;

use super::fields::Fields;
use super::json::Json;
use super::{ConfigError, ModelType};

#[derive(Clone, Copy)]
enum RopeType {
    Default,
    Yarn,
}

const ROPE_TYPES: &[(&str, RopeType)] = &[("default", RopeType::Default), ("yarn", RopeType::Yarn)];

pub(super) fn parse(fields: &Fields<'_>, model_type: ModelType) -> Result<RopeConfig, ConfigError> {
    let styles = [fields.object("rope_scaling")?, fields.object("rope_parameters")?];
    let theta = theta(fields, styles.into_iter().flatten())?;
    let yarn = match styles {
        [None, None] => None,
        [Some(one), None] | [None, Some(one)] => scaling(&one, model_type)?,
        [Some(released), Some(newer)] => {
            let (a, b) = (scaling(&released, model_type)?, scaling(&newer, model_type)?);
            if a != b {
                return Err(ConfigError::Contradiction {
                    file: fields.file.into(),
                    field: "rope_scaling".into(),
                    found: format!("{a:?}"),
                    other: "rope_parameters".into(),
                    other_found: format!("{b:?}"),
                });
            }
            a
        }
    };
    Ok(RopeConfig { theta, yarn, layout: layout(fields, model_type)? })
}

/// The base of the frequencies, which may stand in up to three places.
fn theta<'a>(
    fields: &Fields<'a>,
    styles: impl Iterator<Item = Fields<'a>>,
) -> Result<f64, ConfigError> {
    let key = "rope_theta";
    let mut first: Option<(String, f64)> = None;
    for place in std::iter::once(*fields).chain(styles) {
        let Some(theta) = place.optional_number(key)? else { continue };
        match &first {
            None => first = Some((place.name(key), theta)),
            Some((other, other_found)) if other_found.total_cmp(&theta).is_ne() => {
                return Err(ConfigError::Contradiction {
                    file: fields.file.into(),
                    field: place.name(key),
                    found: theta.to_string(),
                    other: other.clone(),
                    other_found: other_found.to_string(),
                });
            }
            Some(_) => {}
        }
    }
    let (name, theta) = first.ok_or_else(|| fields.missing(key))?;
    if theta > 1.0 { Ok(theta) } else { Err(fields.wrong(&name, theta, "a number above 1")) }
}

/// How the context is stretched; `mscale` and `mscale_all_dim` of null or 0 are not set.
fn scaling(rope: &Fields<'_>, model_type: ModelType) -> Result<Option<Yarn>, ConfigError> {
    if let (Some(a), Some(b)) = (rope.value("type"), rope.value("rope_type"))
        && a != b
    {
        return Err(ConfigError::Contradiction {
            file: rope.file.into(),
            field: rope.name("type"),
            found: a.to_string(),
            other: rope.name("rope_type"),
            other_found: b.to_string(),
        });
    }
    let key = if rope.object.contains_key("rope_type") { "rope_type" } else { "type" };
    // Nothing but a base: nothing is stretched.
    let plain = rope.object.keys().all(|k| k == "rope_theta").then_some(RopeType::Default);
    let RopeType::Yarn = rope.choice(key, ROPE_TYPES, plain)? else { return Ok(None) };

    let positive = |key: &str, x: f64| {
        if x > 0.0 { Ok(x) } else { Err(rope.wrong(key, x, "a number above 0")) }
    };
    let beta = |key: &str, default: f64| match rope.optional_number(key)? {
        None => Ok(default),
        Some(beta) => positive(key, beta),
    };
    let magnitude = |key: &str| {
        if !model_type.has_grouped_attention() && !rope.object.contains_key(key) {
            return Err(rope.missing(key));
        }
        let set = rope.optional_number(key)?.filter(|m| m.abs() > 0.0);
        set.map(|m| positive(key, m)).transpose()
    };
    for (key, only) in [("attention_factor", Json::Null), ("truncate", Json::Bool(true))] {
        if let Some(value) = rope.value(key).filter(|v| **v != only) {
            return Err(rope.unsupported(key, value, only.to_string()));
        }
    }
    Ok(Some(Yarn {
        factor: positive("factor", rope.number("factor")?)?,
        original_max_position_embeddings: rope.size("original_max_position_embeddings")?,
        beta_fast: beta("beta_fast", 32.0)?,
        beta_slow: beta("beta_slow", 1.0)?,
        mscale: magnitude("mscale")?,
        mscale_all_dim: magnitude("mscale_all_dim")?,
    }))
}

/// Neighbours in the released weights with a latent, which only V3's class can say otherwise; halves
/// in the others.
fn layout(fields: &Fields<'_>, model_type: ModelType) -> Result<PairLayout, ConfigError> {
    let published = !model_type.has_grouped_attention();
    let interleaved = fields.flag("rope_interleave", published)?;
    let either = matches!(model_type, ModelType::DeepseekV3 | ModelType::KimiK2);
    if interleaved != published && !either {
        let found = Json::Bool(interleaved);
        let supported = format!("{published} in {model_type}");
        return Err(fields.unsupported("rope_interleave", &found, supported));
    }
    Ok(if interleaved { PairLayout::Interleaved } else { PairLayout::HalfSplit })
}
