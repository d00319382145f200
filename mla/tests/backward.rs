//! Gradients of a layer of the reference in `f64` against differences of the layer itself.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use latent_mla::kernels::suite::Values;
use latent_mla::kernels::suite::differences::assert_gradient;
use latent_mla::kernels::{Dtype, Reference, Weight};
use latent_mla::suite::backward::gradients;
use latent_mla::suite::{Fixture, kinds};
use latent_mla::{Attention, AttentionConfig, Form, MlaError};

const B: Reference<f64> = Reference::new();
const LENGTHS: [usize; 3] = [5, 1, 3];

/// The weights of a layer, in `f64`.
type Weights = Vec<(String, Vec<f64>)>;

fn layer<'a>(config: &AttentionConfig, weights: &Weights) -> Fixture<'a, Reference<f64>> {
    let specs = config.tensors();
    let layer = Attention::new::<MlaError>(&B, config, &mut |name| {
        let shape = match specs.iter().find(|s| s.name == name).unwrap().shape[..] {
            [n] => [1, n],
            ref matrix => [matrix[0], matrix[1]],
        };
        let (_, values) = weights.iter().find(|(n, _)| n == name).unwrap();
        Ok(Weight::encode(Dtype::F64, shape, values)?)
    });
    Fixture { backend: &B, config: config.clone(), layer: layer.unwrap() }
}

#[test]
fn every_gradient_of_every_kind_matches_differences() {
    for (name, config) in kinds() {
        let plain = Fixture::new(&B, &config);
        let weights: Weights =
            plain.weights().into_iter().map(|(name, w)| (name, w.decode())).collect();
        let n = LENGTHS.iter().sum::<usize>() * config.hidden_size();
        let mut values = Values::new(9);
        let (x, dy): (Vec<f64>, Vec<f64>) = (values.draw(n), values.draw(n));
        let loss = |weights: &Weights, x: &[f64], form| {
            let (y, _) = gradients(&layer(&config, weights), &LENGTHS, form, x, &dy);
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>()
        };
        for &form in plain.forms() {
            println!("{name}, {form:?}");
            let (_, all) = gradients(&layer(&config, &weights), &LENGTHS, form, &x, &dy);
            assert_gradient(|x| loss(&weights, x, form), &x, &all[0].1, 1);
            for (weight, gradient) in &all[1..] {
                println!("{weight}");
                let at = weights.iter().position(|(name, _)| name == weight).unwrap();
                let moved = |values: &[f64]| {
                    let mut weights = weights.clone();
                    weights[at].1 = values.to_vec();
                    loss(&weights, &x, form)
                };
                assert_gradient(moved, &weights[at].1, gradient, 2);
            }
        }
    }
}

#[test]
fn both_forms_have_the_same_gradients() {
    for (name, config) in kinds().into_iter().filter(|(name, _)| name.starts_with("MLA")) {
        let f = Fixture::new(&B, &config);
        let n = 70 * config.hidden_size();
        let mut values = Values::new(4);
        let (x, dy): (Vec<f64>, Vec<f64>) = (values.draw(n), values.draw(n));
        let (_, expanded) = gradients(&f, &[70], Form::Expanded, &x, &dy);
        let (_, absorbed) = gradients(&f, &[70], Form::Absorbed, &x, &dy);
        for ((weight, a), (_, b)) in expanded.iter().zip(&absorbed) {
            let largest = a.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            let worst = a.iter().zip(b).fold(0.0_f64, |m, (a, b)| m.max((a - b).abs()));
            assert!(worst <= 1e-12 * largest.max(1.0), "{name}, {weight:?}: {worst}");
        }
    }
}
