//! Properties of [`MoeLayer`] on a backend.

use std::collections::HashMap;

use latent_kernels::suite::{
    Values, assert_same_bits, assert_threads_change_no_bit, done, for_all, upload, wide,
};
use latent_kernels::{Dtype, Tensor, Tolerance, Weight, assert_close};
use proptest::prelude::*;

use super::{definition, gates};
use crate::{Experts, Mlp, MlpWeights, MoeConfig, MoeError, MoeLayer, Routing};

/// A layer's settings, weights and input.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The settings.
    pub config: MoeConfig,
    /// The values of each tensor of the settings, by name.
    pub weights: HashMap<String, Vec<f64>>,
    /// `[token, hidden]`
    pub x: Vec<f64>,
}

/// Layers with every gate, of small and odd sizes, with values that `f32` holds exactly.
pub fn samples() -> impl Strategy<Value = Sample> {
    (gates(), 1..=5_usize, 1..=3_usize, 0..=2_usize, 1..=4_usize, 0..1000_u64).prop_map(
        |(gate, hidden_size, moe_intermediate_size, n_shared_experts, tokens, seed)| {
            let config = MoeConfig { hidden_size, moe_intermediate_size, n_shared_experts, gate };
            let mut values = Values::new(seed);
            // Values of `f32`, which every backend and every dtype used here holds exactly.
            let mut draw = |n| wide(&values.draw::<f32>(n));
            let tensors = config.tensors();
            let weights =
                tensors.into_iter().map(|t| (t.name, draw(t.shape.iter().product()))).collect();
            Sample { x: draw(tokens * hidden_size), config, weights }
        },
    )
}

impl Sample {
    /// The layer on a backend, its weights stored in `f32` where that holds them.
    pub fn layer<B: Experts>(&self, backend: &B) -> MoeLayer<B> {
        let tensors = self.config.tensors();
        done(MoeLayer::new(backend, &self.config, &mut |name| {
            let spec = tensors.iter().find(|t| t.name == name).expect("a name of the list");
            let shape = match spec.shape[..] {
                [rows, cols] => [rows, cols],
                _ => [1, spec.shape[0]],
            };
            let values = &self.weights[name];
            let narrow = Weight::encode(Dtype::F32, shape, values)?;
            let kept = narrow.decode::<f64>().into_iter().zip(values);
            if kept.into_iter().all(|(kept, v)| kept.to_bits() == v.to_bits() || v.is_nan()) {
                return Ok::<_, MoeError>(narrow);
            }
            Ok(Weight::encode(Dtype::F64, shape, values)?)
        }))
    }

    /// What the layer makes of `x`, and its choice.
    pub fn forward<B: Experts>(&self, backend: &B, x: &[f64]) -> (Vec<B::Scalar>, Routing) {
        let hidden = self.config.hidden_size;
        let x = upload(backend, x, &[x.len() / hidden, hidden]);
        let (y, routing) = done(self.layer(backend).forward(backend, &x));
        assert_eq!(y.shape(), x.shape());
        (done(backend.download(&y)), done(backend.host_routing(&routing)))
    }

    /// `x wᵀ` of one token.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let dot = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum();
        self.weights[name].chunks(x.len()).map(dot).collect()
    }

    fn mlp(&self, prefix: &str, x: &[f64]) -> Vec<f64> {
        let gate = self.linear(&format!("{prefix}gate_proj.weight"), x);
        let up = self.linear(&format!("{prefix}up_proj.weight"), x);
        let inner: Vec<f64> =
            gate.iter().zip(&up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
        self.linear(&format!("{prefix}down_proj.weight"), &inner)
    }

    /// The experts and the output of one token: every expert runs, those not chosen weigh 0.
    fn definition(&self, x: &[f64]) -> (Vec<usize>, Vec<f64>) {
        let logits = self.linear("gate.weight", x);
        let bias = self.weights.get("gate.e_score_correction_bias").map(Vec::as_slice);
        let (experts, weights) = definition::route(&self.config.gate, &logits, bias);
        let mut y = vec![0.0; x.len()];
        for e in 0..self.config.gate.n_routed_experts {
            let weight = experts.iter().position(|&c| c == e).map_or(0.0, |at| weights[at]);
            for (y, v) in y.iter_mut().zip(self.mlp(&format!("experts.{e}."), x)) {
                *y += weight * v;
            }
        }
        if self.config.n_shared_experts > 0 {
            for (y, v) in y.iter_mut().zip(self.mlp("shared_experts.", x)) {
                *y += v;
            }
        }
        (experts, y)
    }
}

/// A layer equals a dense sum over all experts, token by token.
pub fn follows_its_definition<B: Experts>(backend: &B, tolerance: Tolerance) {
    for_all(samples(), |sample| {
        let (y, routing) = sample.forward(backend, &sample.x);
        let hidden = sample.config.hidden_size;
        for (token, x) in sample.x.chunks(hidden).enumerate() {
            let (experts, want) = sample.definition(x);
            assert_eq!(routing.token(token).0, experts);
            assert_close(&y[token * hidden..][..hidden], &want, tolerance);
        }
    });
}

/// A token's output has the same bits alone as in a batch.
pub fn batch_mates_change_no_bit<B: Experts>(backend: &B, _: Tolerance) {
    for_all(samples(), |sample| {
        let (batch, _) = sample.forward(backend, &sample.x);
        let alone: Vec<B::Scalar> = sample
            .x
            .chunks(sample.config.hidden_size)
            .flat_map(|x| sample.forward(backend, x).0)
            .collect();
        assert_same_bits(&alone, &batch);
    });
}

/// One thread and three give the same bits.
pub fn threads_change_no_bit<B: Experts>(backend: &B, _: Tolerance) {
    for_all(samples(), |sample| {
        assert_threads_change_no_bit(|| sample.forward(backend, &sample.x).0);
    });
}

/// Shared experts together with routed ones have the bits of both apart, added up.
pub fn shared_experts_are_added_to_routed_ones<B: Experts>(backend: &B, _: Tolerance) {
    for_all(samples(), |sample| {
        let (hidden, gate) = (sample.config.hidden_size, &sample.config.gate);
        let x = upload(backend, &sample.x, &[sample.x.len() / hidden, hidden]);
        let weight = |values: &[f64], rows| {
            done(Weight::encode(Dtype::F32, [rows, values.len() / rows], values))
        };
        let block = |prefix: &str| {
            let of = |name: &str| &sample.weights[&format!("{prefix}{name}.weight")];
            let inner = of("gate_proj").len() / hidden;
            MlpWeights {
                gate_proj: weight(of("gate_proj"), inner),
                up_proj: weight(of("up_proj"), inner),
                down_proj: weight(of("down_proj"), hidden),
            }
        };
        let experts = done(backend.expert_stack(gate.n_routed_experts, |e| {
            Ok::<_, MoeError>(block(&format!("experts.{e}.")))
        }));
        // Any block may be shared, of the experts' size or not.
        let prefix =
            if sample.config.n_shared_experts > 0 { "shared_experts." } else { "experts.0." };
        let shared = done(Mlp::upload(backend, block(prefix)));
        let logits = weight(&sample.weights["gate.weight"], gate.n_routed_experts);
        let logits = done(backend.linear(&x, &done(backend.exact(logits))));
        let bias = sample.weights.get("gate.e_score_correction_bias");
        let bias = bias.map(|bias| upload(backend, bias, &[bias.len()]));
        let routing = done(backend.route(&logits, bias.as_ref(), gate));
        let routed = done(backend.routed(&experts, &x, &routing));
        let apart = backend.add(&routed, &done(shared.forward(backend, &x)));
        let both = done(backend.routed_and_shared(&experts, &shared, &x, &routing));
        assert_same_bits(&done(backend.download(&both)), &done(backend.download(&done(apart))));
    });
}

/// NaN in the weights of an expert that no token chose reaches no output.
pub fn experts_without_tokens_are_not_touched<B: Experts>(backend: &B, _: Tolerance) {
    for_all(samples(), |mut sample| {
        let (want, routing) = sample.forward(backend, &sample.x);
        for e in (0..sample.config.gate.n_routed_experts).filter(|e| !routing.experts().contains(e))
        {
            for name in ["gate_proj", "up_proj", "down_proj"] {
                let name = format!("experts.{e}.{name}.weight");
                sample.weights.get_mut(&name).expect("a name of the list").fill(f64::NAN);
            }
        }
        assert_same_bits(&sample.forward(backend, &sample.x).0, &want);
    });
}

/// No tokens give no rows.
pub fn no_tokens_give_no_rows<B: Experts>(backend: &B, _: Tolerance) {
    for_all(samples(), |sample| {
        let (y, routing) = sample.forward(backend, &[]);
        assert_eq!((y.len(), routing.tokens()), (0, 0));
    });
}

/// An input of another width or rank is refused.
pub fn wrong_shapes_are_errors<B: Experts>(backend: &B, _: Tolerance) {
    for_all(samples(), |sample| {
        let (layer, hidden) = (sample.layer(backend), sample.config.hidden_size);
        for shape in [vec![1, hidden + 1], vec![hidden], vec![1, 1, hidden]] {
            let x = upload(backend, &vec![0.0; shape.iter().product()], &shape);
            assert!(matches!(layer.forward(backend, &x), Err(MoeError::Kernel(_))), "{shape:?}");
        }
    });
}
