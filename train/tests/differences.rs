//! The gradient of the whole loss by every weight, against differences of the loss itself: every kind of
//! attention, in both forms, with every gate, with and without shared experts, multi-token prediction and
//! a tied head.
//!
//! Which experts are chosen is a jump of the loss, so no step of the differences may change a choice:
//! weights are drawn until every choice is clear, and each step is looked at.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "differences/policy.rs"]
mod policy;
#[path = "differences/variants.rs"]
mod variants;

use std::panic::{AssertUnwindSafe, catch_unwind};

use latent_kernels::suite::Values;
use latent_kernels::suite::differences::assert_gradient;
use latent_kernels::{Backend, Dtype, Reference};
use latent_model::config::ModelConfig;
use latent_model::moe::Routing;
use latent_model::moe::balance::BalanceLosses;
use latent_model::{Feed, Form, Keep, Model, ModelError, Observer};
use latent_train::{LossConfig, Losses, Parameters, Sequence, gradients};
use rayon::prelude::*;

use variants::{ATTENTION, FEED_FORWARD, VOCAB, Variant, parameters};

const B: Reference<f64> = Reference::new();
const MTP_WEIGHT: f64 = 0.3;

/// Weights are moved by a tenth of the steps that differences take: many move at once, and the loss bends.
const SCALE: f64 = 0.1;

/// Two sequences of 5 and 3 tokens: the first predicts all but its last token, the second has a target
/// behind its end and none in its middle.
fn batch() -> Vec<Sequence> {
    let second = Sequence { tokens: vec![7, 3, 10], targets: vec![Some(3), None, Some(0)] };
    vec![Sequence::of(&[3, 1, 4, 1, 5]), second]
}

fn loss_config(form: Form) -> LossConfig {
    LossConfig {
        balance: BalanceLosses { seq_aux: 0.3, sequence: 0.7, z: 0.2 },
        mtp_weight: MTP_WEIGHT,
        form,
        keep: Keep::Products,
        logits_chunk: 3,
    }
}

/// The loss of some weights, and every expert that was chosen on the way.
#[derive(Default)]
struct Seen {
    cross_entropy: f64,
    mtp: f64,
    chosen: Vec<usize>,
}

impl Observer<Reference<f64>> for Seen {
    fn routing(&mut self, _: usize, routing: &Routing) -> Result<(), ModelError> {
        self.chosen.extend(routing.experts());
        Ok(())
    }
}

/// The cross-entropies by the path of inference, one sequence after another.
fn seen(model: &Model<Reference<f64>>, form: Form) -> Seen {
    let depth = model.config().num_nextn_predict_layers;
    let mut seen = Seen::default();
    let mut of_depths = vec![Vec::new(); depth + 1];
    for Sequence { tokens, targets } in batch() {
        let mut cache = model.cache(64).unwrap();
        let feed = Feed { sequence: cache.new_sequence(), tokens: &tokens };
        let mut hidden = model.forward(&mut cache, &[feed], form, &mut seen).unwrap();
        of_depths[0].extend(losses(model, &hidden, &targets));
        for k in 1..=depth {
            // At each position the token `k` further on is given, and the one behind it predicted.
            let rows: Vec<usize> = (0..tokens.len() - k).collect();
            let below = B.select_rows(&hidden, &rows).unwrap();
            let saved;
            (hidden, saved) =
                model.forward_mtp_saving(k - 1, &below, &[&tokens[k..]], form).unwrap();
            seen.chosen.extend(saved.routing().iter().flat_map(|routing| routing.experts()));
            of_depths[k].extend(losses(model, &hidden, &targets[k..]));
        }
    }
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    seen.cross_entropy = mean(&of_depths[0]);
    seen.mtp = of_depths[1..].iter().map(|losses| mean(losses) / depth as f64).sum();
    seen
}

/// `ln Σ exp(x) - x_target` of each row with a target.
fn losses(
    model: &Model<Reference<f64>>,
    hidden: &<Reference<f64> as Backend>::Tensor,
    targets: &[Option<u32>],
) -> Vec<f64> {
    let logits = B.download(&model.logits(hidden).unwrap()).unwrap();
    let rows = logits.chunks(VOCAB).zip(targets);
    rows.filter_map(|(row, target)| {
        let sum: f64 = row.iter().map(|x| x.exp()).sum();
        Some(sum.ln() - row[(*target)? as usize])
    })
    .collect()
}

fn model(weights: &Parameters<f64>, config: &ModelConfig) -> Model<Reference<f64>> {
    weights.model(B, config, Dtype::F64).unwrap()
}

/// Weights at which all gates choose the same when every weight of the model is moved at once by the most
/// that differences move one, and every expert is chosen.
fn clear_weights(config: &ModelConfig, form: Form) -> Parameters<f64> {
    let clear = |weights: &Parameters<f64>| {
        if config.moe.is_none() {
            return true;
        }
        let here = seen(&model(weights, config), form).chosen;
        (0..6).all(|expert| here.contains(&expert))
            && (0..8).all(|seed| {
                let mut signs = Values::new(seed);
                let mut moved = weights.clone();
                for (_, array) in moved.iter_mut() {
                    for v in array.values_mut() {
                        *v += 2e-3 * SCALE * signs.draw::<f64>(1)[0].signum();
                    }
                }
                seen(&model(&moved, config), form).chosen == here
            })
    };
    let mut drawn = (0..1000).map(|seed| parameters(config, seed));
    drawn.find(clear).expect("weights at which every choice is clear")
}

/// The losses of some weights, their gradients, and every choice on the way.
fn outcome(
    weights: &Parameters<f64>,
    config: &ModelConfig,
    form: Form,
) -> (Losses, Parameters<f64>, Vec<usize>) {
    let (model, mut seen_by_it) = (model(weights, config), Seen::default());
    let (losses, all) = gradients(&model, &batch(), &loss_config(form), &mut seen_by_it).unwrap();
    let mut chosen = seen_by_it.chosen;
    if config.num_nextn_predict_layers > 0 {
        // Those of multi-token prediction are not shown.
        chosen.extend(seen(&model, form).chosen);
    }
    (losses, all, chosen)
}

/// Holds the gradients of a mix to differences: by all weights at once, and where asked for by each
/// tensor alone.
fn holds(mix: &Variant, by_tensor: bool) {
    let named =
        format!("{}; {}; {mix:?}", ATTENTION[mix.attention], FEED_FORWARD[mix.feed_forward]);
    let (config, form) = (mix.config(), mix.form());
    let weights = clear_weights(&config, form);
    let (losses, all, chosen) = outcome(&weights, &config, form);
    let seen = seen(&model(&weights, &config), form);
    assert!((losses.cross_entropy - seen.cross_entropy).abs() < 1e-12, "{named}");
    assert!((losses.mtp - seen.mtp).abs() < 1e-12, "{named}");
    assert_eq!(losses.balance > 0.0, config.moe.is_some(), "{named}");

    let trained: Vec<&str> = all.iter().map(|(name, _)| name).collect();
    let wanted = config.tensors().len() - usize::from(mix.feed_forward == 3) * (1 + mix.mtp_layers);
    assert_eq!(trained.len(), wanted, "{named}: a gradient for all but the biases");
    let largest = |name: &str| {
        let gradient = all.get(name).unwrap().values();
        gradient.iter().fold(0.0_f64, |m, v| m.max(v.abs()))
    };
    // An expert may have been chosen by tokens alone that nothing is predicted from.
    let (of_experts, others): (Vec<&str>, Vec<&str>) =
        trained.iter().partition(|name| name.contains(".experts."));
    let idle = of_experts.iter().filter(|name| largest(name) == 0.0).count();
    assert!(2 * idle <= of_experts.len(), "{named}: {idle} of {} of experts", of_experts.len());
    for name in others.iter().chain(of_experts.iter().filter(|name| largest(name) != 0.0)) {
        assert!(largest(name) > 1e-5, "{named}: {name} has no gradient to speak of");
    }

    let against_differences = |names: &[&str], seed| {
        let flat = |all: &Parameters<f64>, factor: f64| -> Vec<f64> {
            let values = names.iter().flat_map(|name| all.get(name).unwrap().values());
            values.map(|v| factor * v).collect()
        };
        let moved = |x: &[f64]| {
            let (mut weights, mut x) = (weights.clone(), x.iter());
            for name in names {
                let values = weights.get_mut(name).unwrap().values_mut();
                values.iter_mut().zip(&mut x).for_each(|(v, x)| *v = SCALE * x);
            }
            let (losses, _, found) = outcome(&weights, &config, form);
            assert_eq!(found, chosen, "{named}: a step of the differences changed a choice");
            losses.total(&loss_config(form))
        };
        // Mixes run side by side: the message says whose differences they were.
        let (x, gradient) = (flat(&weights, SCALE.recip()), flat(&all, SCALE));
        let held = AssertUnwindSafe(|| assert_gradient(moved, &x, &gradient, seed));
        assert!(catch_unwind(held).is_ok(), "{named}: by {names:?}");
    };
    against_differences(&trained, 1);
    if by_tensor {
        trained.iter().for_each(|name| against_differences(&[name], 2));
    }
}

#[test]
fn the_gradient_by_each_tensor_matches_differences_in_every_pair_of_variants() {
    let mixes = Variant::pairs();
    assert!(mixes.len() >= ATTENTION.len() * FEED_FORWARD.len());
    mixes.par_iter().for_each(|mix| holds(mix, true));
}

#[test]
fn the_gradient_by_all_weights_matches_differences_in_every_mix() {
    let mixes = Variant::all();
    assert_eq!(mixes.len(), (3 + 2 * 3) * (1 + 4 * 2) * 3 * 2);
    mixes.par_iter().for_each(|mix| holds(mix, false));
}
