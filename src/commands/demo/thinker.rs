//! The model that travels with the program: some problems that it never saw, with its thoughts.

use std::fmt::Write;

use latent_model::kernels::cpu::Cpu;
use latent_model::moe::Experts;
use latent_model::moe::balance::load;
use latent_model::text::Tokenizer;
use latent_model::{
    Feed, Form, GenerateOptions, Generation, LoadOptions, Model, ModelError, Observer,
};
use latent_train::ZERO_TOML;
use latent_train::rl::RlConfig;
use latent_train::tasks::{Part, Task};

use crate::bundled;
use crate::commands::{CommandError, kv, units};

/// How many problems are shown.
const PROBLEMS: u64 = 3;

/// How many experts of a layer are named.
const MOST: usize = 3;

/// Problems, thoughts, answers, what the cache took, and who thought.
pub(super) fn text() -> Result<String, CommandError> {
    let folder =
        tempfile::tempdir().map_err(|error| CommandError::io(&std::env::temp_dir(), error))?;
    bundled::ZERO.write(folder.path())?;
    let backend = Cpu::new();
    let (model, _) = Model::load(backend, folder.path(), &LoadOptions::default())?;
    let tokenizer = Tokenizer::from_dir(folder.path())?;
    let settings = RlConfig::from_toml(ZERO_TOML, &[])?;
    let (rules, task) = (settings.reward.rules()?, Task::new(&settings.task)?);
    let mut text = String::new();
    let mut fired = Fired { backend: model.backend().clone(), layers: Vec::new() };
    let mut tokens = 0;
    for index in 0..PROBLEMS {
        let problem = task.problem(index, Part::HeldOut);
        let prompt = tokenizer.encode(&rules.prompt(&problem.question))?;
        let found = answer(&model, &prompt, &mut fired)?;
        tokens = found.len();
        let said = tokenizer.decode(&found[prompt.len()..])?;
        let _ = writeln!(text, "   {}", problem.question);
        for line in said.lines() {
            let _ = writeln!(text, "     {line}");
        }
        let right = said.contains(&format!("<answer>{}</answer>", problem.answer));
        let _ = writeln!(text, "     {}", if right { "right" } else { "wrong" });
    }
    let rungs = kv::ladder(model.config());
    let of = |name: &str| rungs.iter().find(|rung| rung.name.starts_with(name));
    if let (Some(mha), Some(mla)) = (of("MHA"), rungs.iter().find(|rung| rung.own)) {
        let bytes = |rung: &kv::Rung| units::grouped(rung.bytes_per_token * tokens as u64);
        let share = mla.bytes_per_token as f64 / mha.bytes_per_token as f64;
        let _ = writeln!(
            text,
            "\n   cache of the last one, {tokens} tokens: {} B of latents, {} B as keys and values of every head \
             ({:.0} %)",
            bytes(mla),
            bytes(mha),
            100.0 * share
        );
    }
    for (layer, load) in &fired.layers {
        let _ = writeln!(text, "   experts of layer {layer}: {}", busiest(load));
    }
    Ok(text)
}

/// The most probable answer: prompt and what follows.
fn answer(
    model: &Model<Cpu>,
    prompt: &[u32],
    fired: &mut Fired<Cpu>,
) -> Result<Vec<u32>, CommandError> {
    let options = GenerateOptions {
        sampling: latent_model::sampling::SamplingConfig {
            temperature: 0.0,
            ..latent_model::sampling::SamplingConfig::default()
        },
        eos_token_ids: model.config().eos_token_id.clone(),
        max_new_tokens: 128,
        form: Form::Absorbed,
        chunk: None,
    };
    let mut cache = model.cache(prompt.len() + options.max_new_tokens)?;
    let sequence = cache.new_sequence();
    let mut generation = Generation::new(model, &mut cache, sequence, prompt, options)?;
    generation.by_ref().try_for_each(|token| token.map(drop))?;
    let tokens = generation.tokens().to_vec();
    // Again as a whole: this time somebody looks.
    let mut cache = model.cache(tokens.len())?;
    let feed = Feed { sequence: cache.new_sequence(), tokens: &tokens };
    model.forward(&mut cache, &[feed], Form::Absorbed, fired)?;
    Ok(tokens)
}

/// The tokens that each expert got, by layer.
struct Fired<B> {
    backend: B,
    layers: Vec<(usize, Vec<usize>)>,
}

impl<B: Experts> Observer<B> for Fired<B> {
    fn routing(&mut self, layer: usize, routing: &B::Routing) -> Result<(), ModelError> {
        let more = load(&self.backend.host_routing(routing)?);
        match self.layers.iter_mut().find(|(known, _)| *known == layer) {
            Some((_, sum)) => sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more),
            None => self.layers.push((layer, more)),
        }
        Ok(())
    }
}

/// The experts with most tokens, and how many have any.
fn busiest(load: &[usize]) -> String {
    let all: usize = load.iter().sum();
    let mut order: Vec<usize> = (0..load.len()).collect();
    order.sort_by_key(|&expert| std::cmp::Reverse(load[expert]));
    let share = |expert: &usize| {
        format!("{expert} ({:.0} %)", 100.0 * load[*expert] as f64 / all.max(1) as f64)
    };
    let most: Vec<String> = order.iter().take(MOST).map(share).collect();
    let any = load.iter().filter(|&&tokens| tokens > 0).count();
    format!("{} of {} fired, most {}", any, load.len(), most.join(", "))
}
