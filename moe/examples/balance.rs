//! Routes random tokens through a gate that favours some experts, and lets the loss-free bias
//! rule even out their load.
#![expect(clippy::print_stdout, reason = "a program that reports")]

use latent_moe::kernels::{Backend, Reference};
use latent_moe::{Experts, GateConfig, MoeError, ScoringFunc, TopkMethod, balance};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TOKENS: usize = 512;
const EXPERTS: usize = 16;

fn main() -> Result<(), MoeError> {
    let gate = GateConfig {
        n_routed_experts: EXPERTS,
        num_experts_per_tok: 4,
        scoring_func: ScoringFunc::Sigmoid,
        topk_method: TopkMethod::NoauxTc { n_group: 4, topk_group: 2 },
        norm_topk_prob: true,
        routed_scaling_factor: 2.5,
    };
    let cpu = Reference::<f64>::new();
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut bias = vec![0.0; EXPERTS];
    for step in 0..=200_u32 {
        let logit = |i| rng.random_range(-2.0..2.0) + (i % EXPERTS) as f64 / 8.0;
        let logits: Vec<f64> = (0..TOKENS * EXPERTS).map(logit).collect();
        let logits = cpu.upload(&logits, &[TOKENS, EXPERTS])?;
        let routing = cpu.route(&logits, Some(&cpu.upload(&bias, &[EXPERTS])?), &gate)?;
        let load = balance::load(&routing);
        if step % 100 == 0 {
            println!("step {step:3}: MaxVio {:.3}, load {load:?}", balance::max_vio(&load));
        }
        balance::update_bias(&mut bias, &load, 5e-3)?;
    }
    Ok(())
}
