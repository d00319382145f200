//! Models whose weights are bf16, with products in bf16: what changes no bit, and how far they are from the
//! truth.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;

use latent_model::checkpoint::random::{RandomDtype, write};
use latent_model::config::ModelConfig;
use latent_model::kernels::Reference;
use latent_model::kernels::cpu::{Cpu, Isa};
use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::trace::{TraceOptions, trace};
use latent_model::{Form, LoadOptions, Model};
use tempfile::TempDir;

/// A checkpoint of random bf16 in the shape of a conformance case.
fn checkpoint(name: &str) -> TempDir {
    let case = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(name);
    let json = std::fs::read_to_string(case.join("config.json")).unwrap();
    let (config, _) = ModelConfig::from_json(&json).unwrap();
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &config.tensors(), 7, RandomDtype::Bf16, 1 << 30).unwrap();
    std::fs::write(dir.path().join("config.json"), json).unwrap();
    dir
}

/// The logits behind each of 24 tokens and 3 more.
fn logits<B: Attend + Experts>(backend: B, dir: &TempDir, form: Form, chunk: usize) -> Vec<f64>
where
    f64: From<B::Scalar>,
{
    let model = Model::load(backend, dir.path(), &LoadOptions::default()).unwrap().0;
    let ids: Vec<u32> = (0..24).map(|i| i * 7 % 64).collect();
    let trace = trace(&model, &ids, TraceOptions { form, chunk, generate: 3 }).unwrap();
    trace.logits.into_iter().map(f64::from).collect()
}

#[test]
fn cuts_threads_and_instructions_change_no_bit() {
    for (name, form) in
        [("v2_lite", Form::Expanded), ("v3", Form::Absorbed), ("llama", Form::Expanded)]
    {
        let dir = checkpoint(name);
        let mut shared = None;
        for isa in Isa::detected() {
            let on = |threads| Cpu::with(isa, threads).unwrap().bf16();
            let whole = logits(on(2), &dir, form, 24);
            for (threads, chunk) in [(1, 5), (3, 1)] {
                let cut = logits(on(threads), &dir, form, chunk);
                assert!(cut == whole, "{name} by {chunk} on {isa}, {threads} threads");
            }
            if isa.shares_bits() {
                assert!(whole == *shared.get_or_insert(whole.clone()), "{name} on {isa}");
            }
        }
    }
}

/// Where no router decides between experts, what is rounded stays near what it was.
#[test]
fn logits_of_dense_models_are_near_the_truth() {
    for name in ["llama", "llama_mha", "llama_mqa"] {
        let dir = checkpoint(name);
        let want = logits(Reference::<f64>::new(), &dir, Form::Expanded, 24);
        for cpu in [Cpu::new().bf16(), Cpu::new().on_emulated_tiles().bf16()] {
            let got = logits(cpu, &dir, Form::Expanded, 24);
            let lost: f64 = got.iter().zip(&want).map(|(got, want)| (got - want).powi(2)).sum();
            let energy: f64 = want.iter().map(|v| v * v).sum();
            let error = (lost / energy).sqrt();
            assert!(error > 1e-5 && error < 0.02, "{name}: {error}");
        }
    }
}
