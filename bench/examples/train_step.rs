//! How long a training step takes: forward, backward and AdamW, of a small V3-style model.
//!
//! ```sh
//! cargo run --release -p latent-bench --no-default-features --example train_step [-- f32|bf16 [STEPS]]
//! ```
//!
//! The model is that of `scripts/bench_train.py`, which times the same step in torch: 4 layers, one of them dense,
//! hidden 256, 8 experts of 256 of which 2 are chosen, one shared, vocabulary 4096; 8 sequences of 256 tokens.

#![expect(clippy::print_stdout, reason = "what a program says")]

use std::error::Error;
use std::time::Instant;

use latent_bench::verify;
use latent_kernels::suite::Values;
use latent_kernels::{Reference, Tolerance};
use latent_model::config::ModelConfig;
use latent_model::kernels::Dtype;
use latent_model::kernels::cpu::Cpu;
use latent_train::{
    Array, LossConfig, Optimizer, OptimizerConfig, Parameters, Sequence, gradients,
};

const CONFIG: &str = r#"{
    "model_type": "deepseek_v3", "vocab_size": 4096, "hidden_size": 256, "intermediate_size": 1024,
    "moe_intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "n_shared_experts": 1, "n_routed_experts": 8, "num_experts_per_tok": 2,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 64, "q_lora_rank": 96,
    "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64, "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "routed_scaling_factor": 2.5, "norm_topk_prob": true,
    "topk_method": "noaux_tc", "scoring_func": "sigmoid", "num_nextn_predict_layers": 0
}"#;

const BATCH: [usize; 2] = [8, 256];

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let bf16 = match args.next().as_deref() {
        None | Some("f32") => false,
        Some("bf16") => true,
        Some(other) => return Err(format!("{other}: want f32 or bf16").into()),
    };
    let steps = args.next().map_or(Ok(8), |n| n.parse::<usize>())?;
    let (cpu, stored) =
        if bf16 { (Cpu::new().bf16(), Dtype::Bf16) } else { (Cpu::new(), Dtype::F32) };
    let (config, _) = ModelConfig::from_json(CONFIG)?;
    let mut weights = Parameters::<f32>::default();
    for (seed, spec) in (0..).zip(config.tensors()) {
        let n = spec.shape.iter().product();
        let drawn = match spec.shape.len() {
            1 if spec.name.ends_with("bias") => vec![0.0; n],
            1 => vec![1.0; n],
            _ => Values::new(seed).draw::<f32>(n).iter().map(|v| 0.035 * v).collect(), // std 0.02
        };
        weights.insert(spec.name, Array::new(&spec.shape, drawn).ok_or("a shape")?);
    }
    let tokens: Vec<u32> = (0..BATCH[0] * BATCH[1])
        .map(|i| u32::try_from(i * 7919 % 4093))
        .collect::<Result<_, _>>()?;
    let batch: Vec<Sequence> = tokens.chunks(BATCH[1]).map(Sequence::of).collect();
    if !bf16 {
        verified(&cpu, &config, &weights)?;
    }
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &weights)?;
    let (mut of_steps, mut of_optimizer, mut first, mut last) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for step in 0..=steps {
        let begin = Instant::now();
        let model = weights.model(cpu.clone(), &config, stored)?;
        let (losses, all) = gradients(&model, &batch, &LossConfig::default(), &mut ())?;
        drop(model);
        let moved = Instant::now();
        optimizer.step(&cpu, &mut weights, &all, 3e-4)?;
        if step == 0 {
            first = losses.cross_entropy;
            println!(
                "{} parameters, activations {} MB",
                weights.elements(),
                losses.activation_bytes >> 20
            );
        } else {
            of_steps.push(begin.elapsed().as_secs_f64());
            of_optimizer.push(moved.elapsed().as_secs_f64());
        }
        last = losses.cross_entropy;
    }
    of_steps.sort_by(f64::total_cmp);
    of_optimizer.sort_by(f64::total_cmp);
    let (median, optimizer) = (of_steps[steps / 2], of_optimizer[steps / 2]);
    println!(
        "{}: {:.0} tokens/s, {:.1} ms a step (best {:.1}), AdamW {:.1} ms; loss {first:.4} to {last:.4}",
        latent_model::kernels::Backend::name(&cpu),
        tokens.len() as f64 / median,
        1e3 * median,
        1e3 * of_steps[0],
        1e3 * optimizer,
    );
    Ok(())
}

/// Proves that the gradients which are about to be timed are those of the definition, on a few tokens.
fn verified(
    cpu: &Cpu,
    config: &ModelConfig,
    weights: &Parameters<f32>,
) -> Result<(), Box<dyn Error>> {
    let batch = [Sequence::of(&[5, 900, 77, 4000, 5, 31, 8, 2]), Sequence::of(&[1, 2, 3])];
    let loss = LossConfig::default();
    let model = weights.model(cpu.clone(), config, Dtype::F32)?;
    let (_, got) = gradients(&model, &batch, &loss, &mut ())?;
    let mut wide = Parameters::<f64>::default();
    for (name, array) in weights.iter() {
        let values = array.values().iter().map(|&v| f64::from(v)).collect();
        wide.insert(name, Array::new(array.shape(), values).ok_or("a shape")?);
    }
    let model = wide.model(Reference::<f64>::new(), config, Dtype::F64)?;
    let (_, want) = gradients(&model, &batch, &loss, &mut ())?;
    for (name, want) in want.iter() {
        let largest = want.values().iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        let tolerance = Tolerance { atol: 1e-4 * largest, rtol: 1e-4 };
        verify(name, got.get(name).ok_or("a gradient")?.values(), want.values(), tolerance);
    }
    Ok(())
}
