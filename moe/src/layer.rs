//! A mixture-of-experts layer: gate, routed experts, shared experts.
//!
//! # Source
//! DeepSeekMoE (arXiv 2401.06066), section 3; DeepSeek-V3 (arXiv 2412.19437), section 2.1.2.

use latent_kernels::{Tensor, TensorSpec, Weight};

use crate::mlp::{self, proved};
use crate::{Experts, Mlp, MlpWeights, MoeConfig, MoeError, gate};

const GATE: &str = "gate.weight";
const BIAS: &str = "gate.e_score_correction_bias";
const SHARED: &str = "shared_experts.";

mod backward;

pub use backward::SavedMoe;

/// A mixture-of-experts layer on a backend: `Σ_e w_e expert_e(x) + shared(x)`.
///
/// ```
/// use latent_moe::kernels::{Backend, Dtype, Reference, Weight};
/// use latent_moe::{GateConfig, MoeConfig, MoeError, MoeLayer, ScoringFunc, TopkMethod};
/// let gate = GateConfig {
///     n_routed_experts: 4,
///     num_experts_per_tok: 2,
///     scoring_func: ScoringFunc::Softmax,
///     topk_method: TopkMethod::Greedy,
///     norm_topk_prob: false,
///     routed_scaling_factor: 1.0,
/// };
/// let config =
///     MoeConfig { hidden_size: 3, moe_intermediate_size: 5, n_shared_experts: 1, gate };
/// let cpu = Reference::<f32>::new();
/// let tensors = config.tensors();
/// let layer = MoeLayer::new(&cpu, &config, &mut |name| {
///     let spec = tensors.iter().find(|t| t.name == name).expect("a name of the list");
///     let shape = [spec.shape[0], spec.shape[1]];
///     Ok::<_, MoeError>(Weight::encode(Dtype::F32, shape, &vec![0.0_f32; shape[0] * shape[1]])?)
/// })?;
/// let (y, routing) = layer.forward(&cpu, &cpu.upload(&[1.0; 6], &[2, 3])?)?;
/// assert_eq!(y.shape(), [2, 3]);
/// assert_eq!(routing.experts(), [0, 1, 0, 1]); // Ties go to the lowest index.
/// # Ok::<(), MoeError>(())
/// ```
#[derive(Debug)]
pub struct MoeLayer<B: Experts> {
    config: MoeConfig,
    gate: B::Matrix,         // [n_routed_experts, hidden]
    bias: Option<B::Tensor>, // [n_routed_experts]
    experts: B::ExpertStack,
    shared: Option<Mlp<B>>,
}

impl MoeConfig {
    /// What a layer asks of a checkpoint, relative to its `mlp.`.
    ///
    /// The list is as long as the number of experts: [`validate`](Self::validate) first.
    #[must_use]
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (hidden, experts) = (self.hidden_size, self.gate.n_routed_experts);
        let mut tensors = vec![TensorSpec::new(GATE, &[experts, hidden])];
        if self.gate.has_bias() {
            tensors.push(TensorSpec::new(BIAS, &[experts]));
        }
        for e in 0..experts {
            tensors.extend(mlp::tensors(&expert(e), hidden, self.moe_intermediate_size));
        }
        if self.n_shared_experts > 0 {
            tensors.extend(mlp::tensors(SHARED, hidden, self.shared_intermediate_size()));
        }
        tensors
    }
}

impl<B: Experts> MoeLayer<B> {
    /// A layer whose weights come from `get`, by the names of [`MoeConfig::tensors`].
    ///
    /// The weights of one expert are asked for and taken over before the next.
    ///
    /// # Errors
    /// What `get` returns, and [`MoeError`] when the settings are not usable, a shape is another
    /// one, a bias is not finite, or the backend refuses a weight.
    pub fn new<E: From<MoeError>>(
        backend: &B,
        config: &MoeConfig,
        get: &mut impl FnMut(&str) -> Result<Weight, E>,
    ) -> Result<Self, E> {
        config.validate()?;
        let (hidden, experts) = (config.hidden_size, config.gate.n_routed_experts);
        let gate = proved(GATE.into(), [experts, hidden], get)?;
        let bias = if config.gate.has_bias() {
            let bias = proved(BIAS.into(), [1, experts], get)?;
            gate::check_bias(&bias.decode::<f64>())?;
            Some(backend.vector(&bias).map_err(MoeError::from)?)
        } else {
            None
        };
        let stack = backend.expert_stack(experts, |e| {
            MlpWeights::read(&expert(e), hidden, config.moe_intermediate_size, get)
        })?;
        let shared = if config.n_shared_experts > 0 {
            let inner = config.shared_intermediate_size();
            Some(Mlp::upload(backend, MlpWeights::read(SHARED, hidden, inner, get)?)?)
        } else {
            None
        };
        let gate = backend.exact(gate).map_err(MoeError::from)?;
        Ok(Self { config: config.clone(), gate, bias, experts: stack, shared })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &MoeConfig {
        &self.config
    }

    /// The router's logits, `[token, n_routed_experts]`, in the backend's scalar.
    ///
    /// # Errors
    /// [`MoeError::Kernel`] when `x` is not `[token, hidden_size]`.
    pub fn router_logits(&self, backend: &B, x: &B::Tensor) -> Result<B::Tensor, MoeError> {
        let hidden = self.config.hidden_size;
        if !matches!(x.shape(), [_, columns] if *columns == hidden) {
            return Err(MoeError::shape("moe: x", x.shape(), format!("want [token, {hidden}]")));
        }
        Ok(backend.linear(x, &self.gate)?)
    }

    /// The layer's output and the choice it made.
    ///
    /// The routed experts are summed first, in ascending expert id, then the shared ones are
    /// added. Without shared experts the sum is the output; no tokens give no rows.
    ///
    /// # Shapes
    /// - `x`: `[token, hidden_size]`, after its norm
    /// - returns `[token, hidden_size]`
    ///
    /// # Errors
    /// [`MoeError`] when `x` has another shape or its router logits cannot be scored.
    pub fn forward(&self, backend: &B, x: &B::Tensor) -> Result<(B::Tensor, B::Routing), MoeError> {
        let logits = self.router_logits(backend, x)?;
        let routing = backend.route(&logits, self.bias.as_ref(), &self.config.gate)?;
        let y = match &self.shared {
            Some(shared) => backend.routed_and_shared(&self.experts, shared, x, &routing)?,
            None => backend.routed(&self.experts, x, &routing)?,
        };
        Ok((y, routing))
    }
}

fn expert(e: usize) -> String {
    format!("experts.{e}.")
}
