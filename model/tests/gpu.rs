//! Every case of the conformance pack on a device, in every form and cut; and what holds of a model
//! on one device whatever is beside it.

#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::sync::OnceLock;

use latent_model::conformance::Expected;
use latent_model::kernels::gpu::{DeviceChoice, Gpu};
use latent_model::kernels::{Backend, Reference};
use latent_model::sampling::SamplingConfig;
use latent_model::trace::{TraceOptions, trace};
use latent_model::{Feed, Form, GenerateOptions, Generation, LoadOptions, Model};

#[macro_use]
#[path = "golden/cases.rs"]
mod cases;

use cases::case;

/// The device that all tests share, full of NaN where nothing was written.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::poisoned(DeviceChoice::First).unwrap()).clone()
}

fn load(name: &str) -> Model<Gpu> {
    Model::load(gpu(), &case(name), &LoadOptions::default()).unwrap().0
}

/// Logits within 1e-4 of the truth, experts and greedy tokens identical.
fn conforms(name: &str) {
    let (model, expected) = (load(name), Expected::open(&case(name)).unwrap());
    for form in [Form::Expanded, Form::Absorbed] {
        let mut logits = Vec::new();
        for chunk in [24, 5, 1] {
            let options = TraceOptions { form, chunk, generate: expected.greedy.len() };
            let trace = trace(&model, &expected.input_ids, options).unwrap();
            let report = expected.compare(&trace, model.config().model_type);
            assert!(report.holds(1e-4), "{name} {form:?} by {chunk}: {report:?}");
            logits.push(trace.logits);
        }
        assert!(logits.iter().all(|l| *l == logits[0]), "{name} {form:?}: a chunk changes bits");
    }
}

macro_rules! golden {
    ($($name:ident),+) => {$(
        #[test]
        fn $name() {
            conforms(stringify!($name));
        }
    )+};
}

golden_cases!(golden);

/// The logits of the last token of each sequence of a batch, for prompts fed in one pass.
fn last_logits(model: &Model<Gpu>, prompts: &[&[u32]], before: usize) -> Vec<Vec<f32>> {
    let mut cache = model.cache(1024).unwrap();
    // Sequences that come and go before move the pages.
    for _ in 0..before {
        let sequence = cache.new_sequence();
        let feed = Feed { sequence, tokens: prompts[0] };
        model.forward(&mut cache, &[feed], Form::Absorbed, &mut ()).unwrap();
    }
    let feeds: Vec<Feed<'_>> =
        prompts.iter().map(|tokens| Feed { sequence: cache.new_sequence(), tokens }).collect();
    let hidden = model.forward(&mut cache, &feeds, Form::Absorbed, &mut ()).unwrap();
    let logits = gpu().download(&model.logits(&hidden).unwrap()).unwrap();
    let rows: Vec<&[f32]> = logits.chunks(model.config().vocab_size).collect();
    let mut end = 0;
    let last = prompts.iter().map(|prompt| {
        end += prompt.len();
        rows[end - 1].to_vec()
    });
    last.collect()
}

#[test]
fn batch_mates_and_pages_and_repetition_change_no_bit() {
    let model = load("v3");
    let long: Vec<u32> = (0..70).map(|i| i * 7 % 200).collect();
    let prompts = [&[5, 17, 200][..], &long, &[1]];
    let together = last_logits(&model, &prompts, 0);
    for (prompt, want) in prompts.iter().zip(&together) {
        assert!(last_logits(&model, &[prompt], 0)[0] == *want, "batch mates change a bit");
        assert!(last_logits(&model, &[prompt], 3)[0] == *want, "pages change a bit");
    }
    assert!(last_logits(&model, &prompts, 0) == together, "repetition changes a bit");
}

/// A continuation by the settings, on a backend.
fn continuation<B>(backend: B, sampling: SamplingConfig) -> Vec<u32>
where
    B: latent_model::mla::Attend + latent_model::moe::Experts,
{
    let (model, _) = Model::load(backend, &case("v2"), &LoadOptions::default()).unwrap();
    let mut cache = model.cache(64).unwrap();
    let sequence = cache.new_sequence();
    let options = GenerateOptions {
        sampling,
        eos_token_ids: Vec::new(),
        max_new_tokens: 12,
        form: Form::Absorbed,
        chunk: None,
    };
    let generation = Generation::new(&model, &mut cache, sequence, &[5, 17, 20], options).unwrap();
    generation.collect::<Result<_, _>>().unwrap()
}

#[test]
fn the_same_draws_choose_the_same_tokens_as_on_the_cpu() {
    let drawn = SamplingConfig { temperature: 0.8, seed: 3, ..SamplingConfig::default() };
    let filtered = SamplingConfig { top_k: Some(20), top_p: 0.9, ..drawn };
    for sampling in [SamplingConfig::default(), drawn, filtered] {
        let want = continuation(Reference::<f32>::new(), sampling);
        assert_eq!(continuation(gpu(), sampling), want, "{sampling:?}");
    }
}

#[test]
fn a_decoded_token_waits_for_the_device_once() {
    // A device of its own: others write to the ledger of the shared one.
    let gpu = Gpu::open(DeviceChoice::First).unwrap();
    let (model, _) = Model::load(gpu.clone(), &case("v3"), &LoadOptions::default()).unwrap();
    let mut cache = model.cache(64).unwrap();
    let sequence = cache.new_sequence();
    let feed = |tokens| Feed { sequence, tokens };
    model.forward(&mut cache, &[feed(&[5, 17, 20])], Form::Absorbed, &mut ()).unwrap();
    let _ = gpu.take_ledger();
    let hidden = model.forward(&mut cache, &[feed(&[7])], Form::Absorbed, &mut ()).unwrap();
    assert_eq!(gpu.take_ledger().synchronisations, 0, "the layers wait");
    gpu.argmax(&model.last_logits(&hidden).unwrap()).unwrap();
    assert_eq!(gpu.take_ledger().synchronisations, 1);
}
