//! First weights of a model.

use latent_kernels::{Scalar, TensorSpec};
use latent_model::config::ModelConfig;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::hash::Hash;
use crate::optimizer::has_gradient;
use crate::random::{Use, stream};
use crate::{Array, Parameters};

/// First weights of a model: matrices `normal(0, initializer_range)`, gains of norms 1, biases of
/// routers 0.
///
/// Each tensor has a stream of random numbers of its own, by the seed and its name: neither other
/// tensors nor the number of threads change it. DeepSeek-V3's `initializer_range` is 0.006.
///
/// ```
/// use latent_model::config::ModelConfig;
/// use latent_train::initial_weights;
/// let (config, _) = ModelConfig::from_json(r#"{
///     "model_type": "llama", "vocab_size": 5, "hidden_size": 4, "num_hidden_layers": 1,
///     "num_attention_heads": 2, "intermediate_size": 6, "rms_norm_eps": 1e-6,
///     "max_position_embeddings": 8, "rope_theta": 10000.0
/// }"#)?;
/// let weights = initial_weights(&config, 0.006, 7);
/// assert_eq!(weights.get("model.norm.weight").unwrap().values(), [1.0; 4]);
/// let head = weights.get("lm_head.weight").unwrap();
/// assert!(head.values().iter().all(|w| w.abs() < 0.05 && *w != 0.0));
/// # Ok::<(), latent_model::config::ConfigError>(())
/// ```
///
/// # Source
/// DeepSeek-V3 (arXiv 2412.19437), section 4.2.
#[must_use]
pub fn initial_weights(config: &ModelConfig, initializer_range: f64, seed: u64) -> Parameters<f32> {
    let arrays = config.tensors().into_par_iter().map(|spec| {
        let array = initial(&spec, initializer_range, seed);
        (spec.name, array)
    });
    let mut weights = Parameters::default();
    for (name, array) in arrays.collect::<Vec<_>>() {
        weights.insert(name, array);
    }
    weights
}

fn initial(spec: &TensorSpec, spread: f64, seed: u64) -> Array<f32> {
    let count = spec.shape.iter().product();
    let values = if !has_gradient(&spec.name) {
        vec![0.0; count]
    } else if spec.shape.len() == 1 {
        vec![1.0; count]
    } else {
        let mut normals = Normals::of(&spec.name, seed);
        (0..count).map(|_| <f32 as Scalar>::from_f64(spread * normals.next())).collect()
    };
    Array::new(&spec.shape, values).expect("there are as many values as the shape says")
}

/// Standard normal numbers, by Box and Muller's transform.
struct Normals {
    rng: ChaCha8Rng,
    spare: Option<f64>,
}

impl Normals {
    /// Those of the tensor `name`.
    fn of(name: &str, seed: u64) -> Self {
        let mut hash = Hash::new();
        hash.add(name.as_bytes());
        Self { rng: stream(seed, Use::Weight, hash.value()), spare: None }
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.uniform()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// A number in `(0, 1]`, of 53 random bits.
    fn uniform(&mut self) -> f64 {
        ((self.rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}
