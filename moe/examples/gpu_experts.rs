//! Runs a layer's routed experts on a GPU and on the reference, and prints the largest difference.
#![expect(clippy::print_stdout, reason = "a program that reports")]

use latent_moe::kernels::gpu::{DeviceChoice, Gpu};
use latent_moe::kernels::{Backend, Dtype, Reference, Weight, max_difference};
use latent_moe::{Experts, GateConfig, MlpWeights, MoeError, ScoringFunc, TopkMethod};

fn main() -> Result<(), MoeError> {
    let (gpu, cpu) = (Gpu::open(DeviceChoice::First)?, Reference::<f32>::new());
    let (there, here) = (routed(&gpu)?, routed(&cpu)?);
    println!("{}", gpu.name());
    println!("largest difference {:e}", max_difference(&there, &here));
    Ok(())
}

/// 16 tokens through 2 of 8 experts each.
fn routed<B: Experts<Scalar = f32>>(b: &B) -> Result<Vec<f32>, MoeError> {
    let gate = GateConfig {
        n_routed_experts: 8,
        num_experts_per_tok: 2,
        scoring_func: ScoringFunc::Sigmoid,
        topk_method: TopkMethod::Greedy,
        norm_topk_prob: true,
        routed_scaling_factor: 2.5,
    };
    let wave = |n: usize, f: f32| (0..n).map(|i| (i as f32 * f).sin() / 8.0).collect::<Vec<f32>>();
    let experts = b.expert_stack(8, |e| {
        MlpWeights::read("", 64, 32, &mut |name| {
            let shape = if name.starts_with("down") { [64, 32] } else { [32, 64] };
            let f = (e + name.len()) as f32;
            Ok::<_, MoeError>(Weight::encode(Dtype::Bf16, shape, &wave(64 * 32, f))?)
        })
    })?;
    let routing = b.route(&b.upload(&wave(16 * 8, 1.7), &[16, 8])?, None, &gate)?;
    let x = b.upload(&wave(16 * 64, 0.3), &[16, 64])?;
    Ok(b.download(&b.routed(&experts, &x, &routing)?)?)
}
