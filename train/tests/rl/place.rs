//! Runs of a model so small that a step takes milliseconds, and knows nothing: rewards are for short answers.

use std::fs;
use std::sync::Arc;

use latent_kernels::Reference;
use latent_train::config::Override;
use latent_train::rl::{RlConfig, RlOutcome, RlPrepared, RlTrainer, RlWatch, rl};
use latent_train::{METRICS_FILE, TrainError, train};
use serde_json::{Value, json};

use crate::tiny::{MLA_MOE, Place};

/// A fourth of all bytes ends an answer, and its punishment grows with its length.
const SETTINGS: &str = r#"
[base]
model = "BASE"

[task]
kind.sum = { terms = 3 }
train_problems = 10
held_out_problems = 4

[reward]
template = "tiny"
overlong = "soft"
max_tokens = 8
cache_tokens = 8

[grpo]
num_generations = 4
max_completion_length = 8
beta = 0.1
ref_model_sync_steps = 2

[rollout]
questions = 3
micro_batch_size = 5

[optimizer]
learning_rate = 0.01

[run]
steps = 5
out = "OUT"
eval_every = 3
checkpoint_every = 2
"#;

/// A folder with a base model and room for a run.
pub(crate) struct Rl(pub(crate) Place);

impl Rl {
    pub(crate) fn new() -> Self {
        Self::on(&[])
    }

    /// With other settings of the base.
    pub(crate) fn on(set: &[&str]) -> Self {
        let place = Place::new();
        let out = format!("run.out={}", place.out().with_file_name("base").display());
        let few = ["run.steps=1", "model.max_position_embeddings=32", "model.q_lora_rank=8", &out];
        let config = place.config(MLA_MOE, &[&few, set].concat());
        let base = train(Reference::<f32>::new(), config, false, &mut ()).unwrap().checkpoint;
        fs::rename(&base, place.out().with_file_name("model")).unwrap();
        let rl = Self(place);
        let ends: Vec<u32> = (0..257).filter(|id| id % 4 == 0).collect();
        rl.edit("config.json", |config| config["eos_token_id"] = json!(ends));
        rl
    }

    /// Changes a file of the base.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let path = self.0.out().with_file_name("model").join(name);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(&path, value.to_string()).unwrap();
    }

    pub(crate) fn try_config(
        &self,
        set: &[&str],
    ) -> Result<RlConfig, latent_train::config::TrainConfigError> {
        let base = self.0.out().with_file_name("model");
        let text = self.0.here(SETTINGS).replace("\"BASE\"", &format!("{base:?}"));
        let set: Vec<Override> = set.iter().map(|each| each.parse().unwrap()).collect();
        RlConfig::from_toml(&text, &set)
    }

    pub(crate) fn config(&self, set: &[&str]) -> RlConfig {
        self.try_config(set).unwrap()
    }

    /// A whole run on some backends.
    pub(crate) fn run_on(
        &self,
        backends: usize,
        set: &[&str],
        resume: bool,
        watch: &mut dyn RlWatch,
    ) -> Result<RlOutcome, TrainError> {
        rl(vec![Reference::<f32>::new(); backends], self.config(set), resume, watch)
    }

    pub(crate) fn run(&self, set: &[&str], resume: bool) -> Result<RlOutcome, TrainError> {
        self.run_on(1, set, resume, &mut ())
    }

    pub(crate) fn trainer(&self, set: &[&str]) -> RlTrainer<Reference<f32>> {
        let run = RlPrepared::new(self.config(set)).unwrap();
        RlTrainer::new(vec![Reference::new()], Arc::new(run)).unwrap()
    }

    /// The lines of the metrics, without times.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.0.out().join(METRICS_FILE)).unwrap();
        let line = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let fields = line.as_object_mut().unwrap();
            fields.retain(|key, _| !key.contains("second"));
            line
        };
        text.lines().map(line).collect()
    }
}
