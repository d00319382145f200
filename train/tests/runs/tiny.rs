//! Runs of models so small that a step takes milliseconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use latent_kernels::Reference;
use latent_train::config::{Override, TrainConfig};
use latent_train::{Outcome, Prepared, TrainError, Trainer, train};
use tempfile::TempDir;

/// Latent attention, a dense layer and one of experts.
pub(crate) const MLA_MOE: &str = r#"
[model]
attention = "mla"
hidden_size = 16
num_hidden_layers = 2
num_attention_heads = 2
intermediate_size = 24
q_lora_rank = 8
kv_lora_rank = 8
qk_nope_head_dim = 4
qk_rope_head_dim = 4
v_head_dim = 4
initializer_range = 0.05

[model.experts]
n_routed_experts = 4
num_experts_per_tok = 2
moe_intermediate_size = 8
n_shared_experts = 1
first_k_dense_replace = 1

[data]
files = ["TEXT"]
seq_len = 16
batch_size = 4
validation_fraction = 0.2

[optimizer]
learning_rate = 0.01

[schedule]
kind = "constant"

[loss]
sequence_loss_alpha = 1e-3

[run]
steps = 6
out = "OUT"
eval_every = 3
checkpoint_every = 2
"#;

/// A folder with a text and room for a run.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let line =
            |i: u32| format!("{} sheep jump over {} fences and {} gates.\n", i, i * i, i % 7);
        let document = |n: u32| (n * 5..n * 5 + 5).map(line).collect::<String>();
        let documents: Vec<String> = (0..10).map(document).collect();
        fs::write(place.text(), documents.join("%%\n")).unwrap();
        place
    }

    pub(crate) fn text(&self) -> PathBuf {
        self.0.path().join("text.txt")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.0.path().join("out")
    }

    /// The settings, with some replaced.
    pub(crate) fn config(&self, settings: &str, set: &[&str]) -> TrainConfig {
        self.try_config(settings, set).unwrap()
    }

    pub(crate) fn try_config(
        &self,
        settings: &str,
        set: &[&str],
    ) -> Result<TrainConfig, latent_train::config::TrainConfigError> {
        let settings = self.here(settings);
        let mut overrides: Vec<Override> = vec!["data.separator=%%".parse().unwrap()];
        overrides.extend(set.iter().map(|each| each.parse::<Override>().unwrap()));
        TrainConfig::from_toml(&settings, &overrides)
    }

    /// The settings, with the text and the run in this place.
    pub(crate) fn here(&self, settings: &str) -> String {
        settings
            .replace("\"TEXT\"", &format!("{:?}", self.text()))
            .replace("\"OUT\"", &format!("{:?}", self.out()))
    }

    /// A whole run.
    pub(crate) fn train(&self, set: &[&str], resume: bool) -> Result<Outcome, TrainError> {
        train(Reference::<f32>::new(), self.config(MLA_MOE, set), resume, &mut ())
    }

    pub(crate) fn prepared(&self, settings: &str, set: &[&str]) -> Arc<Prepared> {
        let config = self.config(settings, set);
        Arc::new(Prepared::new(config, &self.out().join("tokenizer"), false).unwrap())
    }

    pub(crate) fn trainer(&self, settings: &str, set: &[&str]) -> Trainer<Reference<f32>> {
        Trainer::new(Reference::new(), self.prepared(settings, set)).unwrap()
    }
}

/// The names and bytes of all files of a folder.
pub(crate) fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

/// The names of what lies in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = entries.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Proves that two checkpoints are the same, byte by byte.
#[track_caller]
pub(crate) fn assert_same_files(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    assert!(a.len() >= 6, "{} files", a.len());
    for ((name, a), (_, b)) in a.iter().zip(&b) {
        assert!(a == b, "{name} has other bytes");
    }
}
