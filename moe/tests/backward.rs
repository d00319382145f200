//! Gradients of the reference in `f64` against differences of the layer and of the losses themselves.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::cell::Cell;

use latent_moe::balance::{BalanceLosses, seq_aux_loss, sequence_loss, z_loss};
use latent_moe::kernels::Reference;
use latent_moe::kernels::suite::differences::assert_gradient;
use latent_moe::kernels::suite::{Values, for_some};
use latent_moe::suite::backward::outcome;
use latent_moe::suite::layer::{Sample, samples};
use latent_moe::{Routing, ScoringFunc, gate};
use proptest::prelude::*;

const B: Reference<f64> = Reference::new();

/// Whether a small step changes which experts are chosen: there the layer has a jump.
fn stands_on_an_edge(sample: &Sample, dy: &[f64]) -> bool {
    let chosen = |s: &Sample, x: &[f64]| s.forward(&B, x).1.experts().to_vec();
    let here = chosen(sample, &sample.x);
    (0..6).any(|seed| {
        let mut values = Values::new(seed);
        let mut moved = sample.clone();
        let step = if seed % 2 == 0 { 4e-3 } else { -4e-3 };
        moved.x.iter_mut().for_each(|x| *x += step * values.draw::<f64>(1)[0].signum());
        for w in moved.weights.get_mut("gate.weight").unwrap() {
            *w += step * values.draw::<f64>(1)[0].signum();
        }
        chosen(&moved, &moved.x) != here || dy.is_empty()
    })
}

#[test]
fn every_gradient_of_every_gate_matches_differences() {
    let held = Cell::new(0);
    for_some(48, (samples(), any::<u64>()), |(sample, seed)| {
        let dy: Vec<f64> = Values::new(seed).draw(sample.x.len());
        if stands_on_an_edge(&sample, &dy) {
            return;
        }
        held.set(held.get() + 1);
        let loss = |sample: &Sample, x: &[f64]| {
            let found = outcome(&B, sample, x, &dy);
            found.balance + found.y.iter().zip(&dy).map(|(y, dy)| y * dy).sum::<f64>()
        };
        let gradients = outcome(&B, &sample, &sample.x, &dy).gradients;
        assert_gradient(|x| loss(&sample, x), &sample.x, &gradients[0].1, seed);
        for (name, gradient) in &gradients[1..] {
            let moved = |values: &[f64]| {
                let mut moved = sample.clone();
                moved.weights.insert(name.clone(), values.to_vec());
                loss(&moved, &sample.x)
            };
            assert_gradient(moved, &sample.weights[name], gradient, seed);
        }
    });
    assert!(held.get() >= 12, "only {} cases away from edges", held.get());
}

#[test]
fn the_losses_are_those_of_their_functions_and_their_gradients_match_differences() {
    let scoring = prop::sample::select(vec![
        ScoringFunc::Softmax,
        ScoringFunc::Sigmoid,
        ScoringFunc::SqrtSoftplus,
    ]);
    for_some(24, (scoring, any::<u64>()), |(scoring, seed)| {
        let (n, lengths) = (5, [3, 0, 4]);
        let logits: Vec<f64> = Values::new(seed).draw(7 * n);
        let experts = (0..7).flat_map(|t| [t % 3, 3 + t % 2]).collect();
        let routing = Routing::new(n, 2, experts, vec![1.0; 14]).unwrap();
        let value = |logits: &[f64], c: &BalanceLosses| {
            let s = gate::scores(logits, n, scoring).unwrap();
            seq_aux_loss(&s, &routing, &lengths, c.seq_aux).unwrap()
                + sequence_loss(&s, &routing, &lengths, c.sequence).unwrap()
                + c.z * z_loss(logits, n).unwrap()
        };
        let (seq_aux, sequence, z) = (0.5, 0.25, 0.125);
        for c in [
            BalanceLosses { seq_aux, ..BalanceLosses::default() },
            BalanceLosses { sequence, ..BalanceLosses::default() },
            BalanceLosses { z, ..BalanceLosses::default() },
            BalanceLosses { seq_aux, sequence, z },
        ] {
            let (loss, d) = c.of(&logits, &routing, &lengths, scoring).unwrap();
            assert!((loss - value(&logits, &c)).abs() < 1e-14);
            assert_gradient(|logits| value(logits, &c), &logits, &d, seed);
        }
    });
}
