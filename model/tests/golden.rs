//! Every case of the conformance pack, in every form and cut, in both config styles.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;

use latent_model::config::ModelType;
use latent_model::conformance::Expected;
use latent_model::kernels::{Reference, Scalar};
use latent_model::trace::{Trace, TraceOptions, trace};
use latent_model::{Form, LoadOptions, Model};

#[macro_use]
#[path = "golden/cases.rs"]
mod cases;

use cases::case;

fn load<T: Scalar>(dir: &Path) -> Model<Reference<T>> {
    let (model, warnings) = Model::load(Reference::new(), dir, &LoadOptions::default()).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    model
}

fn run<T: Scalar>(
    model: &Model<Reference<T>>,
    expected: &Expected,
    form: Form,
    chunk: usize,
) -> Trace<T> {
    let options = TraceOptions { form, chunk, generate: expected.greedy.len() };
    trace(model, &expected.input_ids, options).unwrap()
}

fn conforms<T: Scalar>(dir: &Path, logits: f64) {
    let model = load::<T>(dir);
    let expected = Expected::open(dir).unwrap();
    for form in [Form::Expanded, Form::Absorbed, Form::Auto] {
        for chunk in [1, 5, 24] {
            let trace = run(&model, &expected, form, chunk);
            let report = expected.compare(&trace, model.config().model_type);
            assert!(report.holds(logits), "{} {form:?} by {chunk}: {report:?}", dir.display());
        }
    }
}

macro_rules! golden {
    ($($name:ident),+) => {$(
        mod $name {
            #[test]
            fn f64_logits_are_the_truth_to_1e_9() {
                super::conforms::<f64>(&super::case(stringify!($name)), 1e-9);
            }

            #[test]
            fn f32_logits_are_within_1e_4() {
                super::conforms::<f32>(&super::case(stringify!($name)), 1e-4);
            }

            #[test]
            fn both_config_styles_give_the_same_bits() {
                super::both_config_styles_give_the_same_bits(stringify!($name));
            }
        }
    )+};
}

golden_cases!(golden);

fn both_config_styles_give_the_same_bits(name: &str) {
    let released = case(name);
    let newer = tempfile::tempdir().unwrap();
    for file in fs::read_dir(&released).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap();
        if name != "config.json" {
            fs::copy(&path, newer.path().join(name)).unwrap();
        }
    }
    fs::copy(released.join("config_v5.json"), newer.path().join("config.json")).unwrap();
    let expected = Expected::open(&released).unwrap();
    let [a, b] = [&released, newer.path()]
        .map(|dir| run(&load::<f64>(dir), &expected, Form::Expanded, 24).logits);
    assert!(a == b);
}

#[test]
fn read_files_give_the_same_bits_as_mapped_ones() {
    let dir = case("v3");
    let expected = Expected::open(&dir).unwrap();
    let [mapped, read] = [true, false].map(|mmap| {
        let options = LoadOptions { mmap, ..LoadOptions::default() };
        let (model, _) = Model::load(Reference::<f32>::new(), &dir, &options).unwrap();
        run(&model, &expected, Form::Absorbed, 24).logits
    });
    assert!(mapped == read);
}

#[test]
fn a_wrong_number_fails_the_comparison() {
    let dir = case("v3");
    let expected = Expected::open(&dir).unwrap();
    let model = load::<f64>(&dir);
    let good = run(&model, &expected, Form::Absorbed, 24);
    let broken = |harm: &dyn Fn(&mut Trace<f64>)| {
        let mut bad = good.clone();
        harm(&mut bad);
        expected.compare(&bad, ModelType::DeepseekV3)
    };

    assert!(broken(&|t| t.logits[77] = f64::NAN).logits.is_infinite());
    assert!(broken(&|t| t.logits.truncate(9)).logits.is_infinite());
    assert!(broken(&|t| t.hidden.truncate(2)).hidden.is_infinite());
    assert!(broken(&|t| t.cached.truncate(2)).cached.is_infinite());
    assert!(broken(&|t| drop(t.routing.remove(&3))).weights.is_infinite());
    assert!(!broken(&|t| t.routing.get_mut(&3).unwrap().experts[0] += 1).same_experts);
    assert!(!broken(&|t| t.greedy[3] += 1).same_greedy);
    // The V2 class caches rotated keys in another order.
    assert!(expected.compare(&good, ModelType::DeepseekV2).cached > 100.0);
}
