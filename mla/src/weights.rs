//! The tensors of an attention layer: their published names, and their shapes, proved once.

use latent_kernels::{TensorSpec, Weight};

use crate::{Attend, AttentionConfig, GqaConfig, MlaConfig, MlaError};

impl MlaConfig {
    /// The tensors of the layer, with their names below `self_attn.`.
    ///
    /// The query has `q_a_proj`, `q_a_layernorm` and `q_b_proj` when `q_lora_rank` is set, else
    /// `q_proj`.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let hidden = self.hidden_size;
        let heads = self.num_attention_heads;
        let rank = self.kv_lora_rank;
        let q_rows = heads.saturating_mul(self.qk_head_dim());
        let mut tensors = match self.q_lora_rank {
            None => vec![TensorSpec::new("q_proj.weight", &[q_rows, hidden])],
            Some(q_rank) => vec![
                TensorSpec::new("q_a_proj.weight", &[q_rank, hidden]),
                TensorSpec::new("q_a_layernorm.weight", &[q_rank]),
                TensorSpec::new("q_b_proj.weight", &[q_rows, q_rank]),
            ],
        };
        let kv_a_rows = rank.saturating_add(self.qk_rope_head_dim);
        tensors.extend([
            TensorSpec::new("kv_a_proj_with_mqa.weight", &[kv_a_rows, hidden]),
            TensorSpec::new("kv_a_layernorm.weight", &[rank]),
            TensorSpec::new("kv_b_proj.weight", &self.dims().kv_b_shape()),
            TensorSpec::new("o_proj.weight", &[hidden, heads.saturating_mul(self.v_head_dim)]),
        ]);
        tensors
    }
}

impl GqaConfig {
    /// The tensors of the layer, with their names below `self_attn.`.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let hidden = self.hidden_size;
        let q_rows = self.num_attention_heads.saturating_mul(self.head_dim);
        let kv_rows = self.num_key_value_heads.saturating_mul(self.head_dim);
        vec![
            TensorSpec::new("q_proj.weight", &[q_rows, hidden]),
            TensorSpec::new("k_proj.weight", &[kv_rows, hidden]),
            TensorSpec::new("v_proj.weight", &[kv_rows, hidden]),
            TensorSpec::new("o_proj.weight", &[hidden, q_rows]),
        ]
    }
}

impl AttentionConfig {
    /// The tensors of the layer, with their names below `self_attn.`.
    ///
    /// ```
    /// # use latent_mla::{AttentionConfig, GqaConfig, RopeConfig, kernels::PairLayout};
    /// # let rope = RopeConfig { theta: 1e4, yarn: None, layout: PairLayout::HalfSplit };
    /// let config = AttentionConfig::Grouped(GqaConfig {
    ///     hidden_size: 8, num_attention_heads: 4, num_key_value_heads: 2, head_dim: 6, rope });
    /// let k_proj = &config.tensors()[1];
    /// assert_eq!((k_proj.name.as_str(), &k_proj.shape[..]), ("k_proj.weight", &[12, 8][..]));
    /// ```
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        match self {
            Self::Latent(c) => c.tensors(),
            Self::Grouped(c) => c.tensors(),
        }
    }
}

/// Asks a checkpoint for the tensors of one layer and proves their shapes.
pub(crate) struct Loader<'a, B, E> {
    backend: &'a B,
    tensors: Vec<TensorSpec>,
    get: &'a mut dyn FnMut(&str) -> Result<Weight, E>,
}

impl<'a, B: Attend, E: From<MlaError>> Loader<'a, B, E> {
    pub(crate) fn new(
        backend: &'a B,
        tensors: Vec<TensorSpec>,
        get: &'a mut dyn FnMut(&str) -> Result<Weight, E>,
    ) -> Self {
        Self { backend, tensors, get }
    }

    pub(crate) fn matrix(&mut self, name: &str) -> Result<B::Matrix, E> {
        let weight = self.weight(name)?;
        Ok(self.backend.matrix(weight).map_err(MlaError::from)?)
    }

    pub(crate) fn kv_b(&mut self, name: &str) -> Result<B::KvB, E> {
        let weight = self.weight(name)?;
        Ok(self.backend.kv_b(weight).map_err(MlaError::from)?)
    }

    pub(crate) fn vector(&mut self, name: &str) -> Result<B::Tensor, E> {
        let weight = self.weight(name)?;
        Ok(self.backend.vector(&weight).map_err(MlaError::from)?)
    }

    fn weight(&mut self, name: &str) -> Result<Weight, E> {
        let weight = (self.get)(name)?;
        let spec = self.tensors.iter().find(|t| t.name == name);
        let wanted = &spec.expect("a layer asks only for what its config lists").shape;
        let found = [weight.rows(), weight.cols()];
        let fits = match wanted[..] {
            [n] => found == [1, n],
            _ => found[..] == wanted[..],
        };
        if fits {
            return Ok(weight);
        }
        let (found, wanted) = (found.to_vec(), wanted.clone());
        Err(MlaError::Weight { name: name.into(), found, wanted }.into())
    }
}
