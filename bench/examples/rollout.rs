//! How fast answers are drawn: the rollout of a step of reinforcement learning.
//!
//! ```sh
//! cargo run --release -p latent-bench --no-default-features --example rollout -- DIR PROMPTS.json GENERATIONS TOKENS BATCH THREADS
//! ```
//!
//! `PROMPTS.json` is a list of lists of token ids; `scripts/bench_rollout.py` makes it, and times transformers'
//! `generate` on the same.

#![expect(clippy::print_stdout, reason = "what a program says")]

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use latent_model::config::ModelConfig;
use latent_model::kernels::Dtype;
use latent_model::kernels::cpu::{Cpu, Isa};
use latent_model::{Form, Model};
use latent_train::{Parameters, RolloutConfig, rollout};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, prompts, generations, tokens, batch, threads] = args.as_slice() else {
        return Err("want DIR PROMPTS.json GENERATIONS TOKENS BATCH THREADS".into());
    };
    let dir = Path::new(dir);
    let prompts: Vec<Vec<u32>> = serde_json::from_slice(&std::fs::read(prompts)?)?;
    let (config, _) = ModelConfig::from_dir(dir)?;
    let weights = Parameters::<f32>::from_dir(dir, &config)?;
    let models = (0..threads.parse()?)
        .map(|_| Ok(weights.model(Cpu::with(Isa::best(), 1)?, &config, Dtype::F32)?))
        .collect::<Result<Vec<Model<Cpu>>, Box<dyn Error>>>()?;
    let settings = RolloutConfig {
        num_generations: generations.parse()?,
        max_completion_length: tokens.parse()?,
        temperature: 1.0,
        eos_token_ids: config.eos_token_id.clone(),
        batch_size: batch.parse()?,
        form: Form::Absorbed,
        experts: false,
        seed: 0,
    };
    let start = Instant::now();
    let drawn = rollout(&models, &prompts, &settings)?;
    let seconds = start.elapsed().as_secs_f64();
    let tokens: usize = drawn.iter().map(|continuation| continuation.tokens.len()).sum();
    println!("{}", json!({ "seconds": seconds, "tokens": tokens, "answers": drawn.len() }));
    Ok(())
}
