//! Runs whose products are in bf16: the same bits whatever happens, weights in `f32`, and a loss near that of `f32`.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;

use latent_kernels::Reference;
use latent_kernels::cpu::{Cpu, Isa};
use latent_kernels::{Backend, Dtype};
use latent_model::config::ModelConfig;
use latent_model::{Form, Keep};
use latent_train::checkpoint::Checkpoints;
use latent_train::{Array, Outcome, Parameters, Trainer, initial_weights, train};

#[path = "runs/tiny.rs"]
mod tiny;

use tiny::{MLA_MOE, Place, assert_same_files, names};

const BF16: &str = "run.dtype=bf16";

/// A run on so many threads of a set.
fn run(place: &Place, isa: Isa, threads: usize, set: &[&str], resume: bool) -> Outcome {
    let config = place.config(MLA_MOE, set);
    let cpu = config.run.on(Cpu::with(isa, threads).unwrap());
    train(cpu, config, resume, &mut ()).unwrap()
}

#[test]
fn threads_instructions_and_interruptions_change_no_bit() {
    let first = Place::new();
    let want = run(&first, Isa::best(), 1, &[BF16], false);
    let sets = Isa::detected().into_iter().filter(|isa| isa.shares_bits());
    for (isa, threads) in sets.flat_map(|isa| [(isa, 1), (isa, 2), (isa, 3)]) {
        let place = Place::new();
        let got = run(&place, isa, threads, &[BF16, "run.recompute=true"], false);
        assert_same_files(&got.checkpoint, &want.checkpoint);
    }
    let parts = Place::new();
    for steps in 1..=6 {
        let steps = format!("run.steps={steps}");
        run(&parts, Isa::best(), 2, &[BF16, &steps], steps != "run.steps=1");
    }
    let newest = Checkpoints::new(&parts.out(), 2).unwrap().latest().unwrap().unwrap();
    assert_same_files(&newest, &want.checkpoint);
    let f32 = Place::new();
    let other = run(&f32, Isa::best(), 1, &[], false);
    let weights = |of: &Outcome| fs::read(of.checkpoint.join("model.safetensors")).unwrap();
    assert!(weights(&other) != weights(&want), "products in f32");
}

#[test]
fn weights_are_moved_in_f32_and_met_in_bf16() {
    let place = Place::new();
    let run = place.prepared(MLA_MOE, &[BF16]);
    let mut trainer = Trainer::new(Cpu::new().bf16(), run.clone()).unwrap();
    for _ in 0..3 {
        trainer.step().unwrap();
    }
    for (name, array) in trainer.weights().iter() {
        let narrow = array.values().iter().filter(|v| v.to_bits() & 0xffff == 0).count();
        assert!(narrow < array.values().len() / 2 || name.ends_with("bias"), "{name}");
    }
    // The model is that of the rounded weights.
    let mut rounded = Parameters::default();
    for (name, array) in trainer.weights().iter() {
        let bytes = Dtype::Bf16.encode(array.values());
        let mut values = vec![0.0_f32; array.values().len()];
        Dtype::Bf16.decode(&bytes, &mut values);
        let values = if array.shape().len() == 1 { array.values().to_vec() } else { values };
        rounded.insert(name, Array::new(array.shape(), values).unwrap());
    }
    let of_rounded = rounded.model(Reference::<f32>::new(), &run.model, Dtype::F32).unwrap();
    let of_run = trainer.weights().model(Reference::<f32>::new(), &run.model, Dtype::Bf16).unwrap();
    let said = |model: &latent_model::Model<Reference<f32>>| {
        let ids: &[u32] = &[5, 70, 31, 2, 9];
        let (hidden, _) =
            model.forward_saving(&[ids], Form::Expanded, Keep::Inputs, &mut ()).unwrap();
        model.backend().download(&model.logits(&hidden).unwrap()).unwrap()
    };
    assert!(said(&of_rounded) == said(&of_run), "another model");
}

#[test]
fn vectors_are_not_rounded() {
    let place = Place::new();
    let config: ModelConfig = place.prepared(MLA_MOE, &[]).model.clone();
    let mut weights = initial_weights(&config, 0.05, 3);
    let logits = |weights: &Parameters<f32>| {
        let model = weights.model(Reference::<f32>::new(), &config, Dtype::Bf16).unwrap();
        let ids: &[u32] = &[5, 70];
        let (hidden, _) =
            model.forward_saving(&[ids], Form::Expanded, Keep::Inputs, &mut ()).unwrap();
        model.backend().download(&model.logits(&hidden).unwrap()).unwrap()
    };
    let before = logits(&weights);
    // The nearest bf16 is 1.
    weights.get_mut("model.norm.weight").unwrap().values_mut().fill(1.001);
    assert!(before != logits(&weights), "a gain of 1.001 is one of 1");
}

#[test]
fn a_loss_is_near_that_of_f32() {
    let last = |set: &[&str]| {
        let place = Place::new();
        let set = [&["run.steps=40", "run.checkpoint_every=40", "run.eval_every=0"], set].concat();
        let outcome = run(&place, Isa::best(), 2, &set, false);
        (outcome.last.unwrap().loss, outcome.evaluation.unwrap().loss)
    };
    let ((loss, validation), (of_bf16, validation_of_bf16)) = (last(&[]), last(&[BF16]));
    // It was 5.5 in the beginning.
    assert!(loss < 3.0, "{loss}");
    assert!((loss - of_bf16).abs() < 0.01 * loss, "{loss} and {of_bf16}");
    let far = (validation - validation_of_bf16).abs();
    assert!(far < 0.01 * validation, "{validation} and {validation_of_bf16}");
    assert!((loss - of_bf16).abs() > 1e-9, "no operand was rounded");
}

#[test]
fn the_reference_rounds_weights_alone() {
    let on_reference = |set: &[&str]| Place::new().trainer(MLA_MOE, set).step().unwrap().loss;
    let on_cpu = {
        let run = Place::new().prepared(MLA_MOE, &[BF16]);
        Trainer::new(Cpu::new().bf16(), run).unwrap().step().unwrap().loss
    };
    let (exact, rounded) = (on_reference(&[]), on_reference(&[BF16]));
    for (a, b) in [(exact, rounded), (rounded, on_cpu)] {
        let far = (a - b).abs();
        assert!(far > 1e-9 && far < 1e-2, "{exact}, {rounded} and {on_cpu}");
    }
    let (place, again) = (Place::new(), Place::new());
    let [a, b] = [&place, &again].map(|place| place.train(&[BF16], false).unwrap().checkpoint);
    assert_same_files(&a, &b);
    assert!(names(&a).contains(&"model.safetensors".to_string()));
}
