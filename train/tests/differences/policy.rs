//! The gradient of a policy's loss by every weight, against differences of a loss that is written from the
//! formula: dense logits by the path of inference, plain exponentials, nothing shared with what is tested.

use std::panic::{AssertUnwindSafe, catch_unwind};

use latent_kernels::suite::Values;
use latent_kernels::suite::differences::assert_gradient;
use latent_kernels::{Backend, Reference};
use latent_model::config::ModelConfig;
use latent_model::moe::balance::BalanceLosses;
use latent_model::{Feed, Form, Model};
use latent_train::Parameters;
use latent_train::grpo::{Completion, GrpoConfig, GrpoLoss, LossType, Sampled, gradients};
use rayon::prelude::*;

use super::variants::{VOCAB, Variant, parameters};
use super::{B, SCALE, Seen, model};

/// Questions and answers: the tokens, and where the answer begins. What comes behind an answer's end is
/// not learned.
const ANSWERS: [(&[u32], usize, usize); 4] = [
    (&[3, 1, 4, 1, 5, 9], 2, 6),
    (&[3, 1, 10, 2], 2, 4),
    (&[7, 3, 10, 0, 6], 1, 4),
    (&[2, 8], 1, 2),
];

/// By how much tokens have become more probable since they were sampled: on all sides of the clip, and
/// never near its bounds.
const MOVES: [f64; 5] = [0.5, -0.1, 0.0, 0.08, -0.6];

const ADVANTAGES: [f64; 4] = [1.2, -0.9, -0.4, 0.6];

/// The logarithm of the probability of each token of each answer, and what was chosen on the way.
fn plain_logps(
    model: &Model<Reference<f64>>,
    form: Form,
    temperature: f64,
) -> (Vec<Vec<f64>>, Vec<usize>) {
    let mut seen = Seen::default();
    let of = ANSWERS.map(|(tokens, start, end)| {
        let mut cache = model.cache(64).unwrap();
        let feed = Feed { sequence: cache.new_sequence(), tokens };
        let hidden = model.forward(&mut cache, &[feed], form, &mut seen).unwrap();
        let logits = B.download(&model.logits(&hidden).unwrap()).unwrap();
        let logp = |at: usize| {
            let row = logits[(at - 1) * VOCAB..at * VOCAB].iter().map(|x| (x / temperature).exp());
            let row: Vec<f64> = row.collect();
            (row[tokens[at] as usize] / row.iter().sum::<f64>()).ln()
        };
        (start..end).map(logp).collect()
    });
    (of.to_vec(), seen.chosen)
}

/// The loss by the formula.
fn plain_loss(logps: &[Vec<f64>], batch: &[Completion], config: &GrpoConfig) -> f64 {
    let high = config.epsilon_high.unwrap_or(config.epsilon);
    let of_completion = |(logps, of): (&Vec<f64>, &Completion)| -> (f64, f64) {
        if of.sampled.truncated && config.mask_truncated_completions {
            return (0.0, 0.0);
        }
        let mut sum = 0.0;
        for (t, logp) in logps.iter().enumerate() {
            let ratio = (logp - of.sampled.old_logps[t]).exp();
            let advantage = of.sampled.advantage;
            let bounded = ratio.max(1.0 - config.epsilon).min(1.0 + high) * advantage;
            sum += (ratio * advantage).min(bounded);
            if let Some(reference) = &of.sampled.ref_logps {
                let log = reference[t] - logp;
                sum -= config.beta * (log.exp() - log - 1.0);
            }
        }
        (-sum, logps.len() as f64)
    };
    let each: Vec<(f64, f64)> = logps.iter().zip(batch).map(of_completion).collect();
    let sum: f64 = each.iter().map(|(sum, _)| sum).sum();
    let n = each.len() as f64;
    match config.loss_type {
        LossType::Grpo => each.iter().map(|(sum, tokens)| sum / tokens.max(1.0)).sum::<f64>() / n,
        LossType::Bnpo | LossType::Dapo => sum / each.iter().map(|(_, tokens)| tokens).sum::<f64>(),
        LossType::DrGrpo => sum / n / config.max_completion_length as f64,
    }
}

/// The answers, sampled by a model whose log-probabilities were [`MOVES`] less.
fn batch(logps: &[Vec<f64>], with_reference: bool) -> Vec<Completion> {
    let moved = |logps: &[f64], by: &dyn Fn(usize) -> f64| -> Vec<f64> {
        logps.iter().enumerate().map(|(t, logp)| logp + by(t)).collect()
    };
    (0..ANSWERS.len())
        .map(|i| {
            let (tokens, start, end) = ANSWERS[i];
            let sampled = Sampled {
                old_logps: moved(&logps[i], &|t| -MOVES[(t + 2 * i + 4) % 5]),
                ref_logps: with_reference
                    .then(|| moved(&logps[i], &|t| 0.7 * MOVES[(t + i + 1) % 5] + 0.05)),
                advantage: ADVANTAGES[i],
                truncated: i == 1,
            };
            Completion { tokens: tokens.to_vec(), completion: start..end, sampled }
        })
        .collect()
}

/// Weights at which no gate's choice changes where all of them are moved at once.
fn clear_weights(config: &ModelConfig, form: Form) -> Parameters<f64> {
    let clear = |weights: &Parameters<f64>| {
        let chosen = |weights: &Parameters<f64>| plain_logps(&model(weights, config), form, 1.0).1;
        let here = chosen(weights);
        (0..8).all(|seed| {
            let mut signs = Values::new(seed);
            let mut moved = weights.clone();
            for (_, array) in moved.iter_mut() {
                for v in array.values_mut() {
                    *v += 2e-3 * SCALE * signs.draw::<f64>(1)[0].signum();
                }
            }
            chosen(&moved) == here
        })
    };
    (0..1000).map(|seed| parameters(config, seed)).find(clear).expect("clear weights")
}

/// Holds the loss to the formula, and its gradient to differences of the formula.
fn holds(mix: &Variant, grpo: GrpoConfig, with_reference: bool) {
    let named = format!("{mix:?}; {grpo:?}");
    let (sizes, form) = (mix.config(), mix.form());
    let weights = clear_weights(&sizes, form);
    let here = model(&weights, &sizes);
    let (logps, chosen) = plain_logps(&here, form, grpo.temperature);
    let batch = batch(&logps, with_reference);
    let config = GrpoLoss { grpo, form, logits_chunk: 3, ..GrpoLoss::default() };
    let (report, all) = gradients(&here, &batch, &config, &mut ()).unwrap();
    let want = plain_loss(&logps, &batch, &grpo);
    assert!((report.loss - want).abs() < 1e-12, "{named}: {}, want {want}", report.loss);
    assert!(report.balance == 0.0, "{named}");
    if grpo.epsilon < 1.0 {
        let metrics = report.metrics;
        assert!(metrics.clip_high > 0.0, "{named}: {metrics:?}");
        assert!(metrics.clip_low > 0.0, "{named}: {metrics:?}");
        assert!(metrics.clip_region < 0.7, "{named}: {metrics:?}");
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
    let flat = |all: &Parameters<f64>, factor: f64| -> Vec<f64> {
        let values = names.iter().flat_map(|name| all.get(name).unwrap().values());
        values.map(|v| factor * v).collect()
    };
    let moved = |x: &[f64]| {
        let (mut weights, mut x) = (weights.clone(), x.iter());
        for name in &names {
            let values = weights.get_mut(name).unwrap().values_mut();
            values.iter_mut().zip(&mut x).for_each(|(v, x)| *v = SCALE * x);
        }
        let (logps, found) = plain_logps(&model(&weights, &sizes), form, grpo.temperature);
        assert_eq!(found, chosen, "{named}: a step of the differences changed a choice");
        plain_loss(&logps, &batch, &grpo)
    };
    let (x, gradient) = (flat(&weights, SCALE.recip()), flat(&all, SCALE));
    let held = AssertUnwindSafe(|| assert_gradient(moved, &x, &gradient, 1));
    assert!(catch_unwind(held).is_ok(), "{named}");
}

/// Dense and grouped, and latent attention with experts.
fn mixes() -> [Variant; 2] {
    let dense = Variant {
        attention: 1,
        feed_forward: 0,
        n_shared_experts: 0,
        mtp_layers: 0,
        tied: true,
        absorbed: false,
    };
    let experts = Variant {
        attention: 4,
        feed_forward: 3,
        n_shared_experts: 1,
        mtp_layers: 1,
        tied: false,
        absorbed: true,
    };
    [dense, experts]
}

#[test]
fn the_gradient_of_a_policys_loss_matches_differences_of_the_formula() {
    let mut all = Vec::new();
    for mix in mixes() {
        for loss_type in [LossType::Grpo, LossType::Bnpo, LossType::Dapo, LossType::DrGrpo] {
            for (beta, with_reference) in [(0.0, false), (0.0, true), (0.3, true)] {
                for (epsilon, epsilon_high) in [(0.2, None), (0.2, Some(0.3)), (10.0, None)] {
                    let temperature = if epsilon_high.is_some() { 0.7 } else { 1.0 };
                    let grpo = GrpoConfig {
                        loss_type,
                        beta,
                        epsilon,
                        epsilon_high,
                        temperature,
                        max_completion_length: 5,
                        ..GrpoConfig::default()
                    };
                    all.push((mix, grpo, with_reference));
                }
            }
            let masked = GrpoConfig {
                loss_type,
                beta: 0.1,
                mask_truncated_completions: true,
                ..GrpoConfig::default()
            };
            all.push((mix, masked, true));
        }
    }
    assert_eq!(all.len(), 2 * 4 * 10);
    all.par_iter().for_each(|(mix, grpo, reference)| holds(mix, *grpo, *reference));
}

/// Of the losses on routers with it, by differences of the total itself.
#[test]
fn so_does_that_with_losses_on_routers() {
    let mix = mixes()[1];
    let (sizes, form) = (mix.config(), mix.form());
    let weights = clear_weights(&sizes, form);
    let (logps, _) = plain_logps(&model(&weights, &sizes), form, 1.0);
    let batch = batch(&logps, true);
    let balance = BalanceLosses { seq_aux: 0.3, sequence: 0.7, z: 0.2 };
    let config = GrpoLoss { balance, form, logits_chunk: 3, ..GrpoLoss::default() };
    let of = |weights: &Parameters<f64>| {
        gradients(&model(weights, &sizes), &batch, &config, &mut ()).unwrap()
    };
    let (report, all) = of(&weights);
    assert!(report.balance > 0.1);
    let flat = |all: &Parameters<f64>, factor: f64| -> Vec<f64> {
        all.iter().flat_map(|(_, array)| array.values()).map(|v| factor * v).collect()
    };
    let names: Vec<&str> = all.iter().map(|(name, _)| name).collect();
    let moved = |x: &[f64]| {
        let (mut weights, mut x) = (weights.clone(), x.iter());
        for name in &names {
            let values = weights.get_mut(name).unwrap().values_mut();
            values.iter_mut().zip(&mut x).for_each(|(v, x)| *v = SCALE * x);
        }
        of(&weights).0.total()
    };
    let x: Vec<f64> =
        names.iter().flat_map(|n| weights.get(n).unwrap().values()).copied().collect();
    let x: Vec<f64> = x.iter().map(|v| v / SCALE).collect();
    assert_gradient(moved, &x, &flat(&all, SCALE), 1);
}
