//! The gates of V2-Lite and V3, and a layer with the experts of V2-Lite at an eighth of its widths.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use latent_bench::{SUMS, verify};
use latent_kernels::cpu::Cpu;
use latent_kernels::suite::{self, Values, wide};
use latent_kernels::{Backend, Dtype, Reference, Tolerance, Weight};
use latent_moe::suite::definition;
use latent_moe::{Experts, GateConfig, MoeConfig, MoeError, MoeLayer, ScoringFunc, TopkMethod};

/// Tokens of a decode step of one sequence, and of a short prompt.
const TOKENS: [(&str, usize); 2] = [("decode", 1), ("prefill", 64)];

fn v2_lite() -> GateConfig {
    GateConfig {
        n_routed_experts: 64,
        num_experts_per_tok: 6,
        scoring_func: ScoringFunc::Softmax,
        topk_method: TopkMethod::Greedy,
        norm_topk_prob: false,
        routed_scaling_factor: 1.0,
    }
}

fn v3() -> GateConfig {
    GateConfig {
        n_routed_experts: 256,
        num_experts_per_tok: 8,
        scoring_func: ScoringFunc::Sigmoid,
        topk_method: TopkMethod::NoauxTc { n_group: 8, topk_group: 4 },
        norm_topk_prob: true,
        routed_scaling_factor: 2.5,
    }
}

fn gate(c: &mut Criterion) {
    let cpu = Reference::<f32>::new();
    let mut group = c.benchmark_group("gate");
    for gate in [v2_lite(), v3()] {
        for (phase, tokens) in TOKENS {
            let (n, mut values) = (gate.n_routed_experts, Values::new(1));
            let logits: Vec<f32> = values.draw(tokens * n);
            let bias: Option<Vec<f32>> = gate.has_bias().then(|| values.draw(n));
            let there = cpu.upload(&logits, &[tokens, n]).expect("logits");
            let bias_there = bias.as_ref().map(|b| cpu.upload(b, &[n]).expect("a bias"));
            let run = || cpu.route(&there, bias_there.as_ref(), &gate).expect("logits that fit");

            let (name, got) = (format!("{phase}/{n} experts"), run());
            let bias = bias.as_deref().map(wide);
            for (token, logits) in logits.chunks(n).enumerate() {
                let (experts, weights) = definition::route(&gate, &wide(logits), bias.as_deref());
                assert_eq!(got.token(token).0, experts, "{name}: not timed");
                verify(&name, got.token(token).1, &weights, Tolerance::F32);
            }
            group.throughput(Throughput::Elements(tokens as u64));
            group.bench_function(name, |b| b.iter(|| black_box(run())));
        }
    }
}

/// A layer's weights, as they are stored and as `f64`.
struct Weights(HashMap<String, (Weight, Vec<f64>)>);

impl Weights {
    fn new(config: &MoeConfig) -> Self {
        let mut values = Values::new(2);
        let weight = |tensor: latent_kernels::TensorSpec| {
            let [rows, cols] = tensor.shape[..] else { panic!("{}: no matrix", tensor.name) };
            let drawn: Vec<f32> = values.draw::<f32>(rows * cols).iter().map(|v| v / 8.0).collect();
            let weight = Weight::encode(Dtype::Bf16, [rows, cols], &drawn).expect("a weight");
            let decoded = weight.decode();
            (tensor.name, (weight, decoded))
        };
        Self(config.tensors().into_iter().map(weight).collect())
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (w, values) = &self.0[name];
        suite::linear::definition(x, values, [1, w.rows(), w.cols()])
    }

    fn mlp(&self, prefix: &str, x: &[f64]) -> Vec<f64> {
        let [gate, up] =
            ["gate", "up"].map(|p| self.linear(&format!("{prefix}{p}_proj.weight"), x));
        let inner = suite::swiglu::definition(&gate, &up);
        self.linear(&format!("{prefix}down_proj.weight"), &inner)
    }

    /// The output of one token: its experts by the definition of the gate, and the shared ones.
    fn definition(&self, gate: &GateConfig, x: &[f64]) -> Vec<f64> {
        let (experts, weights) = definition::route(gate, &self.linear("gate.weight", x), None);
        let mut y = self.mlp("shared_experts.", x);
        for (e, weight) in experts.iter().zip(weights) {
            let expert = self.mlp(&format!("experts.{e}."), x);
            y.iter_mut().zip(expert).for_each(|(y, v)| *y += weight * v);
        }
        y
    }
}

fn layer(c: &mut Criterion) {
    layer_on(c, "reference", &Reference::<f32>::new());
    layer_on(c, "cpu", &Cpu::new());
}

fn layer_on<B: Experts<Scalar = f32>>(c: &mut Criterion, backend: &str, cpu: &B) {
    let config = MoeConfig {
        hidden_size: 256,
        moe_intermediate_size: 176,
        n_shared_experts: 2,
        gate: v2_lite(),
    };
    let weights = Weights::new(&config);
    let mut get = |name: &str| Ok::<_, MoeError>(weights.0[name].0.clone());
    let layer = MoeLayer::new(cpu, &config, &mut get).expect("weights that fit");
    let mut group = c.benchmark_group(format!("layer of 64 experts on {backend}"));
    for (phase, tokens) in TOKENS {
        let x: Vec<f32> = Values::new(3).draw(tokens * config.hidden_size);
        let there = cpu.upload(&x, &[tokens, config.hidden_size]).expect("x");
        let run = || layer.forward(cpu, &there).expect("x that fits").0;

        let tokens_wide = x.chunks(config.hidden_size).map(wide);
        let want: Vec<f64> =
            tokens_wide.flat_map(|x| weights.definition(&config.gate, &x)).collect();
        verify(phase, &cpu.download(&run()).expect("y"), &want, SUMS);
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(phase, |b| b.iter(|| black_box(run())));
    }
}

criterion_group!(benches, gate, layer);
criterion_main!(benches);
