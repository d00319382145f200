//! Holding a model to the conformance pack: tiny checkpoints with expected values.
//!
//! The pack lies in `conformance/` of the repository; a case is a folder in the published layout
//! with `goldens.safetensors` beside it. What the pack says is independent of this code: it was
//! made by other programs from the papers' formulas.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use latent_kernels::{Scalar, Tolerance};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::config::ModelType;
use crate::trace::{CachedRows, Trace};

/// What a case expects.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    /// The prompt.
    pub input_ids: Vec<u32>,
    /// The tokens decoded greedily behind it.
    pub greedy: Vec<u32>,
    logits: Vec<f64>,
    hidden: Vec<Vec<f64>>,
    routing: BTreeMap<usize, (Vec<usize>, Vec<f64>)>,
    latents: Vec<Vec<f64>>,
    rotated_keys: Vec<Vec<f64>>,
    mtp_logits: Option<Vec<f64>>,
}

/// The largest differences between a trace and what its case expects.
///
/// Logits are compared with an `f64` computation: their differences are absolute. The rest is
/// compared with one in `f32`, which rounds large values by more: differences are shares of what
/// [`HIDDEN`] or [`VALUES`] allow. An array of another length, or a NaN, is an infinite difference.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Of the logits; absolute.
    pub logits: f64,
    /// Of the multi-token-prediction logits, whose expected ones follow from hidden states in
    /// `f32`; absolute.
    pub mtp_logits: Option<f64>,
    /// Of the residual stream, as a share of [`HIDDEN`].
    pub hidden: f64,
    /// Of the experts' weights, as a share of [`VALUES`].
    pub weights: f64,
    /// Of the cached latents and rotated keys, or keys and values, as a share of [`VALUES`].
    pub cached: f64,
    /// Whether every token went to the expected experts.
    pub same_experts: bool,
    /// Whether the decoded tokens are the expected ones.
    pub same_greedy: bool,
}

/// What is allowed of the residual stream: it reaches 63 where experts are scaled by 16, and there
/// the expected values themselves are 1.2e-4 from an `f64` computation.
pub const HIDDEN: Tolerance = Tolerance { atol: 3e-4, rtol: 0.0 };
/// What is allowed of experts' weights and of cached values.
pub const VALUES: Tolerance = Tolerance { atol: 1e-5, rtol: 1e-5 };
/// What is allowed of the multi-token-prediction logits.
pub const MTP_LOGITS: f64 = 1e-4;

impl Report {
    /// Whether everything is as expected, logits to `logits`: 1e-9 of an engine that computes in
    /// `f64`, 1e-4 in `f32`.
    #[must_use]
    pub fn holds(&self, logits: f64) -> bool {
        self.logits <= logits
            && self.mtp_logits.is_none_or(|d| d <= MTP_LOGITS)
            && self.hidden <= 1.0
            && self.weights <= 1.0
            && self.cached <= 1.0
            && self.same_experts
            && self.same_greedy
    }
}

/// An error of a case's `goldens.safetensors`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConformanceError {
    /// The file could not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The file is not a safetensors file, or an array is missing or has another dtype.
    #[error("{path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Expected {
    /// Reads `goldens.safetensors` of the case in `dir`.
    ///
    /// # Errors
    /// [`ConformanceError`] when the file cannot be read or lacks an array.
    pub fn open(dir: &Path) -> Result<Self, ConformanceError> {
        let path = dir.join("goldens.safetensors");
        let bytes = std::fs::read(&path)
            .map_err(|source| ConformanceError::Io { path: path.clone(), source })?;
        Self::parse(&bytes).map_err(|what| ConformanceError::Malformed { path, what })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let numbers = |name: &str| numbers(&file, name);
        let ids = |name: &str| ids(&file, name);
        let mut routing = BTreeMap::new();
        for name in file.names() {
            if let Some(layer) = name.strip_prefix("prefill.moe_idx.") {
                let weights = numbers(&format!("prefill.moe_weight.{layer}"))?;
                let layer = layer.parse().map_err(|_| format!("{name}: want a layer's number"))?;
                let experts = ids(name)?.into_iter().map(|e| e as usize).collect();
                routing.insert(layer, (experts, weights));
            }
        }
        // `prefill.X.0`, `prefill.X.1`, ... as far as they go.
        let series = |name: &str| -> Result<Vec<Vec<f64>>, String> {
            (0..)
                .map(|i| format!("prefill.{name}.{i}"))
                .take_while(|name| file.tensor(name).is_ok())
                .map(|name| numbers(&name))
                .collect()
        };
        let grouped = file.tensor("prefill.cache_k.0").is_ok();
        let (first, second) =
            if grouped { ("cache_k", "cache_v") } else { ("cache_latent", "cache_krope") };
        let has_mtp = file.tensor("mtp.ref64.logits").is_ok();
        Ok(Self {
            input_ids: ids("input_ids")?,
            greedy: ids("greedy.ids")?,
            logits: numbers("ref64.logits")?,
            hidden: series("hidden")?,
            routing,
            latents: series(first)?,
            rotated_keys: series(second)?,
            mtp_logits: has_mtp.then(|| numbers("mtp.ref64.logits")).transpose()?,
        })
    }

    /// Compares a trace of [`input_ids`](Self::input_ids) by a model of type `model_type`.
    #[must_use]
    pub fn compare<T: Scalar>(&self, trace: &Trace<T>, model_type: ModelType) -> Report {
        let same_experts = self.routing.len() == trace.routing.len()
            && self.routing.iter().all(|(layer, (experts, _))| {
                trace.routing.get(layer).is_some_and(|r| r.experts == *experts)
            });
        let weights = self.routing.iter().map(|(layer, (_, want))| {
            trace.routing.get(layer).map_or(f64::INFINITY, |r| share(&r.weights, want, VALUES))
        });
        let hidden =
            trace.hidden.iter().zip(&self.hidden).map(|(got, want)| share(got, want, HIDDEN));
        let mtp_logits = self.mtp_logits.as_ref().map(|want| {
            trace.mtp_logits.as_ref().map_or(f64::INFINITY, |got| difference(got, want))
        });
        Report {
            logits: difference(&trace.logits, &self.logits),
            hidden: largest(hidden, trace.hidden.len() == self.hidden.len()),
            weights: largest(weights, true),
            cached: self.compare_cached(trace, model_type),
            mtp_logits,
            same_experts,
            same_greedy: trace.greedy == self.greedy,
        }
    }

    fn compare_cached<T: Scalar>(&self, trace: &Trace<T>, model_type: ModelType) -> f64 {
        let pairs = self.latents.iter().zip(&self.rotated_keys);
        let differences = trace.cached.iter().zip(pairs).map(|(got, (first, second))| match got {
            CachedRows::Latent { c_kv, k_rope } => {
                let width = k_rope.len() / self.input_ids.len();
                // The V2 class caches pairs as stored; the V3 class takes them apart first.
                let keys = if model_type == ModelType::DeepseekV2 {
                    k_rope.clone()
                } else {
                    k_rope.chunks(width).flat_map(half_split).collect()
                };
                share(c_kv, first, VALUES).max(share(&keys, second, VALUES))
            }
            CachedRows::Grouped { keys, values } => {
                share(keys, first, VALUES).max(share(values, second, VALUES))
            }
        });
        largest(differences, trace.cached.len() == self.latents.len())
    }
}

/// Interleaved pairs `a0 b0 a1 b1` as halves `a0 a1 b0 b1`.
fn half_split<T: Scalar>(row: &[T]) -> Vec<T> {
    row.iter().step_by(2).chain(row.iter().skip(1).step_by(2)).copied().collect()
}

/// The largest difference of two equally long arrays; infinite where they cannot be compared.
fn difference<T: Scalar>(got: &[T], want: &[f64]) -> f64 {
    let differences = got.iter().zip(want).map(|(g, w)| (g.as_f64() - w).abs());
    largest(differences, got.len() == want.len())
}

/// As [`difference`], as a share of what `tolerance` allows.
fn share<T: Scalar>(got: &[T], want: &[f64], tolerance: Tolerance) -> f64 {
    let allowed = |w: f64| tolerance.atol + tolerance.rtol * w.abs();
    let shares = got.iter().zip(want).map(|(g, &w)| (g.as_f64() - w).abs() / allowed(w));
    largest(shares, got.len() == want.len())
}

fn largest(differences: impl Iterator<Item = f64>, comparable: bool) -> f64 {
    if !comparable {
        return f64::INFINITY;
    }
    differences.fold(0.0, |max, d| if d.is_nan() { f64::INFINITY } else { max.max(d) })
}

fn tensor<'a>(file: &'a SafeTensors<'_>, name: &str) -> Result<TensorView<'a>, String> {
    file.tensor(name).map_err(|_| format!("no array {name}"))
}

fn numbers(file: &SafeTensors<'_>, name: &str) -> Result<Vec<f64>, String> {
    let tensor = tensor(file, name)?;
    let dtype = match tensor.dtype() {
        Dtype::F64 => latent_kernels::Dtype::F64,
        Dtype::F32 => latent_kernels::Dtype::F32,
        other => return Err(format!("{name}: dtype {other:?}, want F32 or F64")),
    };
    let mut values = vec![f64::NAN; tensor.data().len() / dtype.bytes()];
    dtype.decode(tensor.data(), &mut values);
    Ok(values)
}

fn ids(file: &SafeTensors<'_>, name: &str) -> Result<Vec<u32>, String> {
    let tensor = tensor(file, name)?;
    if tensor.dtype() != Dtype::I64 {
        return Err(format!("{name}: dtype {:?}, want I64", tensor.dtype()));
    }
    let (ids, _) = tensor.data().as_chunks::<8>();
    ids.iter()
        .map(|&id| u32::try_from(i64::from_le_bytes(id)).map_err(|_| format!("{name}: bad id")))
        .collect()
}
