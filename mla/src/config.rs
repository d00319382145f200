//! The sizes of an attention layer, checked once, and what follows from them.

use latent_kernels::{PairLayout, RopeTable, TensorSpec, Yarn};

use crate::{LatentDims, MlaError};

/// The eps of the norms of both latents, whatever the model's `rms_norm_eps` says: it is what the
/// released code runs.
pub const LATENT_NORM_EPS: f64 = 1e-6;

/// Rotary embedding of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies, `rope_theta`.
    pub theta: f64,
    /// YaRN, if the context was stretched, `rope_scaling`.
    pub yarn: Option<Yarn>,
    /// Which elements of the **stored** projections make a pair.
    pub layout: PairLayout,
}

/// Multi-head latent attention. Fields are the keys of the published `config.json`.
///
/// # Source
/// DeepSeek-V2 (arXiv 2405.04434), section 2.1.
#[derive(Debug, Clone, PartialEq)]
pub struct MlaConfig {
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The number of heads.
    pub num_attention_heads: usize,
    /// The width of the query's latent; `None` projects the query in one step.
    pub q_lora_rank: Option<usize>,
    /// The width of the latent that keys and values are compressed into.
    pub kv_lora_rank: usize,
    /// The part of a head's query and key that carries no position.
    pub qk_nope_head_dim: usize,
    /// The rotated part; the rotated key is shared by all heads.
    pub qk_rope_head_dim: usize,
    /// The width of a head's value.
    pub v_head_dim: usize,
    /// How positions are encoded.
    pub rope: RopeConfig,
}

/// Attention with its own keys and values per group of heads: MHA, GQA and MQA are one formula
/// with `num_key_value_heads` equal to all heads, some, and one.
///
/// # Source
/// Vaswani et al. (arXiv 1706.03762), section 3.2.2; Shazeer (arXiv 1911.02150); Ainslie et al.
/// (arXiv 2305.13245), section 2.2.
#[derive(Debug, Clone, PartialEq)]
pub struct GqaConfig {
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The number of query heads.
    pub num_attention_heads: usize,
    /// The number of key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// The width of a head, all of it rotated.
    pub head_dim: usize,
    /// How positions are encoded.
    pub rope: RopeConfig,
}

/// Which attention a layer has. Any kind fits into any model.
#[derive(Debug, Clone, PartialEq)]
pub enum AttentionConfig {
    /// Multi-head latent attention.
    Latent(MlaConfig),
    /// MHA, GQA or MQA.
    Grouped(GqaConfig),
}

impl MlaConfig {
    /// Proves that the sizes are usable.
    ///
    /// # Errors
    /// [`MlaError::Config`] that names the field, its value, and what is wanted.
    pub fn validate(&self) -> Result<(), MlaError> {
        at_least_one("hidden_size", self.hidden_size)?;
        at_least_one("num_attention_heads", self.num_attention_heads)?;
        at_least_one("kv_lora_rank", self.kv_lora_rank)?;
        at_least_one("qk_nope_head_dim", self.qk_nope_head_dim)?;
        at_least_one("qk_rope_head_dim", self.qk_rope_head_dim)?;
        at_least_one("v_head_dim", self.v_head_dim)?;
        if let Some(rank) = self.q_lora_rank {
            at_least_one("q_lora_rank", rank)?;
        }
        even("qk_rope_head_dim", self.qk_rope_head_dim)?;
        addressable(&self.tensors())?;
        self.rope_table().map(|_| ())
    }

    /// The width of a head's query and key: both parts.
    #[must_use]
    pub fn qk_head_dim(&self) -> usize {
        self.qk_nope_head_dim.saturating_add(self.qk_rope_head_dim)
    }

    /// The sizes that kernels go by.
    #[must_use]
    pub fn dims(&self) -> LatentDims {
        LatentDims {
            num_attention_heads: self.num_attention_heads,
            kv_lora_rank: self.kv_lora_rank,
            qk_nope_head_dim: self.qk_nope_head_dim,
            qk_rope_head_dim: self.qk_rope_head_dim,
            v_head_dim: self.v_head_dim,
        }
    }

    /// What scores are multiplied by: `qk_head_dim^-1/2`, times YaRN's factor where it is on.
    #[must_use]
    pub fn softmax_scale(&self) -> f64 {
        let yarn = self.rope.yarn.as_ref().map_or(1.0, Yarn::softmax_factor);
        (self.qk_head_dim() as f64).powf(-0.5) * yarn
    }

    /// The frequencies of the rotated part.
    ///
    /// # Errors
    /// [`MlaError::Kernel`] when a setting of the rotation is outside of its range.
    pub fn rope_table(&self) -> Result<RopeTable, MlaError> {
        let RopeConfig { theta, yarn, layout } = &self.rope;
        Ok(RopeTable::new(self.qk_rope_head_dim, *theta, yarn.as_ref(), *layout)?)
    }
}

impl GqaConfig {
    /// Proves that the sizes are usable.
    ///
    /// # Errors
    /// [`MlaError::Config`] that names the field, its value, and what is wanted.
    pub fn validate(&self) -> Result<(), MlaError> {
        at_least_one("hidden_size", self.hidden_size)?;
        at_least_one("num_attention_heads", self.num_attention_heads)?;
        at_least_one("num_key_value_heads", self.num_key_value_heads)?;
        at_least_one("head_dim", self.head_dim)?;
        if !self.num_attention_heads.is_multiple_of(self.num_key_value_heads) {
            let wanted = format!("a divisor of num_attention_heads {}", self.num_attention_heads);
            return Err(MlaError::config("num_key_value_heads", self.num_key_value_heads, wanted));
        }
        even("head_dim", self.head_dim)?;
        addressable(&self.tensors())?;
        self.rope_table().map(|_| ())
    }

    /// What scores are multiplied by: `head_dim^-1/2`.
    #[must_use]
    pub fn softmax_scale(&self) -> f64 {
        (self.head_dim as f64).powf(-0.5)
    }

    /// The frequencies of the rotation.
    ///
    /// # Errors
    /// [`MlaError::Kernel`] when a setting of the rotation is outside of its range.
    pub fn rope_table(&self) -> Result<RopeTable, MlaError> {
        let RopeConfig { theta, yarn, layout } = &self.rope;
        Ok(RopeTable::new(self.head_dim, *theta, yarn.as_ref(), *layout)?)
    }
}

impl AttentionConfig {
    /// Proves that the sizes are usable.
    ///
    /// # Errors
    /// [`MlaError::Config`] that names the field, its value, and what is wanted.
    pub fn validate(&self) -> Result<(), MlaError> {
        match self {
            Self::Latent(c) => c.validate(),
            Self::Grouped(c) => c.validate(),
        }
    }

    /// The width of the residual stream.
    #[must_use]
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Latent(c) => c.hidden_size,
            Self::Grouped(c) => c.hidden_size,
        }
    }

    /// The number of elements cached per token and layer: `kv_lora_rank + qk_rope_head_dim` for
    /// latent attention, keys and values of every group otherwise.
    #[must_use]
    pub fn cached_elements(&self) -> usize {
        match self {
            Self::Latent(c) => c.kv_lora_rank.saturating_add(c.qk_rope_head_dim),
            Self::Grouped(c) => c.num_key_value_heads.saturating_mul(c.head_dim).saturating_mul(2),
        }
    }

    /// The bytes cached per token and layer at `element_bytes` an element.
    #[must_use]
    pub fn bytes_per_token(&self, element_bytes: usize) -> usize {
        self.cached_elements().saturating_mul(element_bytes)
    }
}

fn at_least_one(field: &'static str, found: usize) -> Result<(), MlaError> {
    if found == 0 { Err(MlaError::config(field, found, "at least 1")) } else { Ok(()) }
}

/// Proves that each tensor, 8 bytes an element, has a size that fits into memory addresses.
fn addressable(tensors: &[TensorSpec]) -> Result<(), MlaError> {
    for tensor in tensors {
        if tensor.elements().and_then(|n| n.checked_mul(8)).is_none() {
            let wanted = format!("small enough for {}", tensor.name);
            return Err(MlaError::config("sizes", format!("{:?}", tensor.shape), wanted));
        }
    }
    Ok(())
}

fn even(field: &'static str, found: usize) -> Result<(), MlaError> {
    if found.is_multiple_of(2) {
        return Ok(());
    }
    Err(MlaError::config(field, found, "an even number: RoPE turns pairs"))
}
