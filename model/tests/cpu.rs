//! Every case of the conformance pack on the fast backend for processors, in every form and cut, with all
//! instructions that this one has; and what changes no bit.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use latent_model::conformance::Expected;
use latent_model::kernels::cpu::{Cpu, Isa};
use latent_model::kernels::{Backend, Reference};
use latent_model::mla::CacheFormat;
use latent_model::trace::{TraceOptions, trace};
use latent_model::{Feed, Form, LoadOptions, Model};

#[macro_use]
#[path = "golden/cases.rs"]
mod cases;

use cases::case;

fn load(cpu: Cpu, name: &str) -> Model<Cpu> {
    Model::load(cpu, &case(name), &LoadOptions::default()).unwrap().0
}

/// Logits within 1e-4 of the truth, experts and greedy tokens identical, and the same bits however the
/// prompt is cut and on every set of instructions that shares them.
fn conforms(name: &str) {
    let expected = Expected::open(&case(name)).unwrap();
    for form in [Form::Expanded, Form::Absorbed] {
        let mut logits: Vec<Vec<f32>> = Vec::new();
        // Whether they are those that sets share.
        let mut shared = false;
        for isa in Isa::detected() {
            let model = load(Cpu::with(isa, 2).unwrap(), name);
            for chunk in [24, 5, 1] {
                let options = TraceOptions { form, chunk, generate: expected.greedy.len() };
                let trace = trace(&model, &expected.input_ids, options).unwrap();
                let report = expected.compare(&trace, model.config().model_type);
                assert!(report.holds(1e-4), "{name} {form:?} by {chunk} on {isa}: {report:?}");
                if chunk == 24 && !(isa.shares_bits() && shared) {
                    logits.clear();
                    shared = isa.shares_bits();
                }
                logits.push(trace.logits);
                assert!(
                    logits[0] == logits[logits.len() - 1],
                    "{name} {form:?} by {chunk} on {isa}"
                );
            }
        }
    }
}

/// Emulated tiles give bits of their own for weights in bf16, and keep the same promises.
#[test]
fn tiles_conform() {
    let name = "v3_fp8";
    let expected = Expected::open(&case(name)).unwrap();
    let cpu = Cpu::with(Isa::best(), 2).unwrap().on_emulated_tiles();
    let model = load(cpu, name);
    for form in [Form::Expanded, Form::Absorbed] {
        let mut whole = None;
        for chunk in [24, 5, 1] {
            let options = TraceOptions { form, chunk, generate: expected.greedy.len() };
            let trace = trace(&model, &expected.input_ids, options).unwrap();
            let report = expected.compare(&trace, model.config().model_type);
            assert!(report.holds(1e-4), "{form:?} by {chunk}: {report:?}");
            assert!(trace.logits == *whole.get_or_insert(trace.logits.clone()), "by {chunk}");
        }
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
fn last_logits(model: &Model<Cpu>, prompts: &[&[u32]], format: CacheFormat) -> Vec<Vec<f32>> {
    let mut cache = model.cache_in(format, 1024).unwrap();
    let feeds: Vec<Feed<'_>> =
        prompts.iter().map(|tokens| Feed { sequence: cache.new_sequence(), tokens }).collect();
    let hidden = model.forward(&mut cache, &feeds, Form::Absorbed, &mut ()).unwrap();
    let logits = model.backend().download(&model.logits(&hidden).unwrap()).unwrap();
    let rows: Vec<&[f32]> = logits.chunks(model.config().vocab_size).collect();
    let mut end = 0;
    let last = prompts.iter().map(|prompt| {
        end += prompt.len();
        rows[end - 1].to_vec()
    });
    last.collect()
}

#[test]
fn batch_mates_and_threads_change_no_bit_in_any_format() {
    let long: Vec<u32> = (0..70).map(|i| i * 7 % 200).collect();
    let prompts = [&[5, 17, 200][..], &long, &[1]];
    for int8 in [false, true] {
        let model = |cpu: Cpu| load(if int8 { cpu.int8() } else { cpu }, "v3");
        for format in [CacheFormat::Scalar, CacheFormat::Bf16, CacheFormat::Fp8] {
            let together = last_logits(&model(Cpu::new()), &prompts, format);
            for threads in [1, 3] {
                let model = model(Cpu::with(Isa::best(), threads).unwrap());
                assert!(last_logits(&model, &prompts, format) == together, "{threads} threads");
                for (prompt, want) in prompts.iter().zip(&together) {
                    let alone = last_logits(&model, &[prompt], format);
                    assert!(alone[0] == *want, "batch mates change a bit in {format}");
                }
            }
        }
    }
}

#[test]
fn cuts_and_instructions_change_no_bit_in_eight_bits() {
    for (name, form) in [
        ("v2_lite", Form::Expanded),
        ("v3", Form::Absorbed),
        ("v3_fp8", Form::Absorbed),
        ("llama", Form::Expanded),
    ] {
        let ids = Expected::open(&case(name)).unwrap().input_ids;
        let logits = |isa, chunk| {
            let model = load(Cpu::with(isa, 2).unwrap().int8(), name);
            trace(&model, &ids, TraceOptions { form, chunk, generate: 3 }).unwrap().logits
        };
        let mut shared = None;
        for isa in Isa::detected() {
            let whole = logits(isa, 24);
            for chunk in [5, 1] {
                assert!(logits(isa, chunk) == whole, "{name} by {chunk} on {isa}");
            }
            if isa.shares_bits() {
                assert!(whole == *shared.get_or_insert(whole.clone()), "{name} on {isa}");
            }
        }
    }
}

/// Where no router decides between experts, what is rounded stays near what it was.
#[test]
fn logits_of_dense_models_in_eight_bits_are_near_the_truth() {
    for name in ["llama", "llama_mha", "llama_mqa"] {
        let ids = Expected::open(&case(name)).unwrap().input_ids;
        let options = TraceOptions { form: Form::Expanded, chunk: 24, generate: 0 };
        let reference =
            Model::load(Reference::<f64>::new(), &case(name), &LoadOptions::default()).unwrap().0;
        let want = trace(&reference, &ids, options).unwrap().logits;
        let got = trace(&load(Cpu::new().int8(), name), &ids, options).unwrap().logits;
        let lost: f64 =
            got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum();
        let energy: f64 = want.iter().map(|v| v * v).sum();
        let error = (lost / energy).sqrt();
        assert!(error > 1e-4 && error < 0.05, "{name}: {error}");
    }
}
