//! Loading a checkpoint and running it holds its weights once.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;

use latent_model::checkpoint::random::{RandomDtype, write};
use latent_model::config::{ModelConfig, Quantization, published};
use latent_model::kernels::Reference;
use latent_model::kernels::cpu::Cpu;
use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::{Feed, Form, LoadOptions, Model};
use tempfile::TempDir;

/// One layer of V2-Lite's shape, about 80 million parameters.
fn config(quantization: Option<Quantization>) -> ModelConfig {
    let (_, config) = published().into_iter().find(|(n, _)| *n == "deepseek-v2-lite").unwrap();
    ModelConfig { num_hidden_layers: 1, vocab_size: 512, quantization, ..config }
}

/// Bytes of `field` in `/proc/self/status`.
fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// The peak of memory that loading and one forward pass add.
fn added_peak<B: Attend + Experts>(backend: B, dir: &Path, mmap: bool) -> u64 {
    let before = status("VmRSS");
    // Sets the peak back to what is held now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let options = LoadOptions { mmap, ..LoadOptions::default() };
    let (model, _) = Model::load(backend, dir, &options).unwrap();
    let mut cache = model.cache(64).unwrap();
    let feed = Feed { sequence: cache.new_sequence(), tokens: &[1, 2, 3, 4] };
    let hidden = model.forward(&mut cache, &[feed], Form::Absorbed, &mut ()).unwrap();
    model.logits(&hidden).unwrap();
    status("VmHWM") - before
}

/// A folder with random weights, and the bytes of its tensors' file.
fn folder(config: &ModelConfig, dtype: RandomDtype) -> (TempDir, u64) {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config.tensors(), 0, dtype, u64::MAX).unwrap();
    fs::write(dir.path().join("config.json"), config.to_json().unwrap()).unwrap();
    let disk = fs::metadata(dir.path().join("model.safetensors")).unwrap().len();
    (dir, disk)
}

/// One after the other: the peak is the process's.
#[test]
fn weights_are_held_once() {
    loading_and_running_holds_the_weights_once();
    loading_in_eight_bits_holds_the_packed_weights_once();
}

fn loading_and_running_holds_the_weights_once() {
    let block = [128, 128];
    for (dtype, quantization) in
        [(RandomDtype::Bf16, None), (RandomDtype::Fp8 { block }, Some(Quantization::Fp8 { block }))]
    {
        let (dir, disk) = folder(&config(quantization), dtype);
        for mmap in [true, false] {
            let peak = added_peak(Reference::<f32>::new(), dir.path(), mmap);
            // Less would mean that the weights were not used, and the measurement is wrong.
            assert!(peak > disk * 7 / 10, "{dtype:?} mmap {mmap}: {peak} of {disk} bytes");
            assert!(peak * 100 <= disk * 115, "{dtype:?} mmap {mmap}: {peak} of {disk} bytes");
        }
    }
}

fn loading_in_eight_bits_holds_the_packed_weights_once() {
    let (dir, disk) = folder(&config(None), RandomDtype::Bf16);
    let peak = added_peak(Cpu::new().int8(), dir.path(), true);
    let packed = disk * 17 / 32;
    assert!(peak > packed * 7 / 10, "{peak} of {packed} bytes");
    assert!(peak * 100 <= packed * 115, "{peak} of {packed} bytes");
}
