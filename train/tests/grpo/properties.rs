//! What holds of every batch.

use latent_train::grpo::{GrpoConfig, LossType, Metrics, Sampled, ScaleRewards, Whole, advantages};
use latent_train::grpo::{MAX_LOG_RATIO, Objective};
use proptest::prelude::*;

use super::evaluate;

const TYPES: [LossType; 4] = [LossType::Grpo, LossType::Bnpo, LossType::Dapo, LossType::DrGrpo];

fn config() -> impl Strategy<Value = GrpoConfig> {
    let scales = [ScaleRewards::Group, ScaleRewards::Batch, ScaleRewards::None];
    let scales = prop::sample::select(scales.to_vec());
    let types = prop::sample::select(TYPES.to_vec());
    (types, scales, prop_oneof![Just(0.0), 0.001..0.5_f64], 0.05..0.9_f64, any::<bool>()).prop_map(
        |(loss_type, scale_rewards, beta, epsilon, mask_truncated_completions)| GrpoConfig {
            num_generations: 4,
            loss_type,
            scale_rewards,
            beta,
            epsilon,
            mask_truncated_completions,
            max_completion_length: 9,
            ..GrpoConfig::default()
        },
    )
}

/// A completion of 1 to 7 tokens, and log-probabilities of them now.
fn completion() -> impl Strategy<Value = (Sampled, Vec<f64>)> {
    let token = (-9.0..0.0_f64, -2.0..2.0_f64, -2.0..2.0_f64);
    (prop::collection::vec(token, 1..8), -3.0..3.0_f64, any::<bool>()).prop_map(
        |(tokens, advantage, truncated)| {
            let old_logps = tokens.iter().map(|(old, _, _)| *old).collect();
            let ref_logps = Some(tokens.iter().map(|(old, _, by)| old + by).collect());
            let logps = tokens.iter().map(|(old, by, _)| old + by).collect();
            (Sampled { old_logps, ref_logps, advantage, truncated }, logps)
        },
    )
}

fn batch() -> impl Strategy<Value = (Vec<Sampled>, Vec<Vec<f64>>)> {
    prop::collection::vec(completion(), 1..7).prop_map(|batch| batch.into_iter().unzip())
}

/// What a token of each completion counts, written down once more.
fn counts(batch: &[Sampled], config: &GrpoConfig) -> Vec<f64> {
    let is_masked = |s: &Sampled| config.mask_truncated_completions && s.truncated;
    let n = batch.len() as f64;
    let tokens: usize = batch.iter().filter(|s| !is_masked(s)).map(|s| s.old_logps.len()).sum();
    let of = |s: &Sampled| match config.loss_type {
        _ if is_masked(s) => 0.0,
        LossType::Grpo => 1.0 / n / s.old_logps.len() as f64,
        LossType::Bnpo | LossType::Dapo => 1.0 / tokens as f64,
        LossType::DrGrpo => 1.0 / n / 9.0,
    };
    batch.iter().map(of).collect()
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1.0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equal_rewards_have_advantages_of_exactly_0(
        config in config(), rewards in prop::collection::vec(-1e3..1e3_f64, 1..5), size in 2..9_usize,
    ) {
        let config = GrpoConfig { num_generations: size, ..config };
        let all: Vec<f64> = rewards.iter().flat_map(|reward| vec![*reward; size]).collect();
        let of = advantages(&all, &config).unwrap();
        prop_assert!(of.values.iter().all(|&a| a == 0.0));
        prop_assert_eq!(&of.equal, &(0..rewards.len()).collect::<Vec<_>>());
        prop_assert!(near(of.frac_reward_zero_std(), 1.0));
        prop_assert_eq!(&of.means, &rewards);
        prop_assert!(of.stds.iter().all(|&std| std == 0.0));
    }

    #[test]
    fn advantages_of_a_group_sum_to_0_and_follow_the_order_of_rewards(
        config in config(), rewards in prop::collection::vec(0..4_u8, 12),
    ) {
        let rewards: Vec<f64> = rewards.into_iter().map(f64::from).collect();
        let of = advantages(&rewards, &config).unwrap();
        for (values, rewards) in of.values.chunks(4).zip(rewards.chunks(4)) {
            prop_assert!(values.iter().sum::<f64>().abs() < 1e-12);
            for (a, r) in values.iter().zip(rewards) {
                for (b, s) in values.iter().zip(rewards) {
                    prop_assert_eq!(a.total_cmp(b), r.total_cmp(s));
                }
            }
        }
        if config.scale_rewards == ScaleRewards::Group {
            for (question, values) in of.values.chunks(4).enumerate() {
                let squares: f64 = values.iter().map(|a| a * a).sum();
                let std = of.stds[question];
                prop_assert!(near(squares / 3.0, (std / (std + 1e-4)).powi(2)));
            }
        }
    }

    #[test]
    fn another_order_of_answers_is_the_same_order_of_the_same_advantages(
        config in config(), rewards in prop::collection::vec(-2.0..2.0_f64, 4),
        order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
    ) {
        let of = advantages(&rewards, &config).unwrap().values;
        let moved: Vec<f64> = order.iter().map(|&i| rewards[i]).collect();
        let want: Vec<u64> = order.iter().map(|&i| of[i].to_bits()).collect();
        let got = advantages(&moved, &config).unwrap().values;
        prop_assert_eq!(got.iter().map(|a| a.to_bits()).collect::<Vec<_>>(), want);
    }

    /// By the formula, plainly: no step is shared.
    #[test]
    fn the_loss_is_its_formula(config in config(), (batch, logps) in batch()) {
        let (loss, metrics, _) = evaluate(&batch, &logps, &config).unwrap();
        let (mut want, mut kl, mut tokens) = (0.0, 0.0, 0);
        for ((sampled, logps), n) in batch.iter().zip(&logps).zip(counts(&batch, &config)) {
            for t in 0..logps.len() {
                let r = logps[t].exp() / sampled.old_logps[t].exp();
                let q = sampled.ref_logps.as_ref().unwrap()[t].exp() / logps[t].exp();
                let a = sampled.advantage;
                let bounded = r.max(1.0 - config.epsilon).min(1.0 + config.epsilon);
                want -= n * ((r * a).min(bounded * a) - config.beta * (q - q.ln() - 1.0));
                kl += if n > 0.0 { q - q.ln() - 1.0 } else { 0.0 };
                tokens += usize::from(n > 0.0);
            }
        }
        prop_assert!(near(loss, want), "{} {}", loss, want);
        prop_assert_eq!(metrics.tokens, tokens);
        prop_assert!(near(metrics.kl.unwrap(), kl / tokens.max(1) as f64));
    }

    #[test]
    fn at_a_ratio_of_1_the_loss_is_minus_the_mean_advantage(
        config in config(), (mut batch, _) in batch(),
    ) {
        for sampled in &mut batch {
            sampled.ref_logps = Some(sampled.old_logps.clone());
        }
        let logps: Vec<Vec<f64>> = batch.iter().map(|s| s.old_logps.clone()).collect();
        let (loss, metrics, derivatives) = evaluate(&batch, &logps, &config).unwrap();
        let counts = counts(&batch, &config);
        let each = batch.iter().zip(&counts);
        let want: f64 = each.map(|(s, n)| -n * s.advantage * s.old_logps.len() as f64).sum();
        prop_assert!(near(loss, want));
        prop_assert!(metrics.max_ratio_deviation == 0.0 && metrics.kl == Some(0.0));
        prop_assert!(metrics.tokens == 0 || metrics.ratio == 1.0);
        for ((of, sampled), n) in derivatives.iter().zip(&batch).zip(&counts) {
            prop_assert!(of.iter().all(|&d| near(d, -n * sampled.advantage)));
        }
    }

    /// Down to differences that the plain formula loses.
    #[test]
    fn the_divergence_is_0_only_where_nothing_diverges(
        logp in -30.0..-0.5_f64, size in -15.0..1.3_f64, rises in any::<bool>(),
    ) {
        let config = GrpoConfig::default();
        let reference = logp + if rises { 10_f64.powf(size) } else { -10_f64.powf(size) };
        let sampled = |reference| Sampled {
            old_logps: vec![logp], ref_logps: Some(vec![reference]), ..Sampled::default()
        };
        let kl = |reference| {
            let (_, metrics, of) = evaluate(&[sampled(reference)], &[vec![logp]], &config).unwrap();
            (metrics.kl.unwrap(), of[0][0])
        };
        prop_assert_eq!(kl(logp).0, 0.0);
        let d = reference - logp;
        prop_assume!(d != 0.0);
        prop_assert!(kl(reference).0 > 0.0);
        // Pulled towards the reference.
        prop_assert_eq!(kl(reference).1 < 0.0, d > 0.0);
        let plain = match d.abs() > 1e-3 {
            true => d.exp() - d - 1.0,
            false => d * d / 2.0 * (1.0 + d / 3.0 + d * d / 12.0),
        };
        prop_assert!((kl(reference).0 - plain).abs() <= 1e-9 * plain, "{}: {}", d, plain);
    }

    /// What a completion's tokens give does not depend on what else is in the batch, but for what they
    /// count.
    #[test]
    fn mates_change_nothing_but_what_a_token_counts(
        config in config(), (batch, logps) in batch(), seed in any::<prop::sample::Index>(),
    ) {
        let (_, _, all) = evaluate(&batch, &logps, &config).unwrap();
        let i = seed.index(batch.len());
        let (alone, mates) = (&batch[i..=i], counts(&batch, &config)[i]);
        let (_, _, of) = evaluate(alone, &logps[i..=i], &config).unwrap();
        let n = counts(alone, &config)[0];
        for (a, b) in all[i].iter().zip(&of[0]) {
            prop_assert!(n == 0.0 || near(a / mates, b / n));
        }
        let mut order: Vec<usize> = (0..batch.len()).collect();
        order.rotate_left(i);
        let batch: Vec<Sampled> = order.iter().map(|&j| batch[j].clone()).collect();
        let logps: Vec<Vec<f64>> = order.iter().map(|&j| logps[j].clone()).collect();
        let (_, _, moved) = evaluate(&batch, &logps, &config).unwrap();
        for (of, &j) in moved.iter().zip(&order) {
            prop_assert_eq!(of, &all[j]);
        }
    }

    #[test]
    fn losses_and_metrics_of_parts_add_up(
        config in config(), (batch, logps) in batch(), cut in any::<prop::sample::Index>(),
    ) {
        let (loss, metrics, _) = evaluate(&batch, &logps, &config).unwrap();
        let (cut, whole) = (cut.index(batch.len()), Whole::of(&batch, &config));
        let part = |range: std::ops::Range<usize>| {
            let mut objective =
                Objective::new(&batch[range.clone()], Some(whole), &config).unwrap();
            for (i, logps) in logps[range].iter().enumerate().filter(|(_, l)| !l.is_empty()) {
                for (t, &logp) in logps.iter().enumerate() {
                    if objective.counts(i) {
                        objective.token(i, t, logp).unwrap();
                    }
                }
            }
            objective.finish()
        };
        let ((a, first), (b, second)) = (part(0..cut), part(cut..batch.len()));
        if config.loss_type != LossType::Bnpo {
            prop_assert!(near(a + b, loss), "{} {} {}", a, b, loss);
        }
        let both: Metrics = first.merge(&second);
        prop_assert_eq!((both.tokens, both.masked), (metrics.tokens, metrics.masked));
        prop_assert!(near(both.kl.unwrap(), metrics.kl.unwrap()));
        prop_assert!(near(both.ratio, metrics.ratio));
        prop_assert!(near(both.clip_region, both.clip_low + both.clip_high));
        prop_assert!(near(both.clip_region, metrics.clip_region));
        prop_assert!(near(both.max_ratio_deviation, metrics.max_ratio_deviation));
    }

    /// However far apart log-probabilities are: a number, or an error that names the token.
    #[test]
    fn nothing_becomes_nan(
        config in config(), logp in -1e4..0.0_f64, old in -1e4..0.0_f64,
        reference in -1e4..0.0_f64, advantage in -1e30..1e30_f64,
    ) {
        let of = Sampled {
            old_logps: vec![old], ref_logps: Some(vec![reference]), advantage, truncated: false,
        };
        let far = logp - old > MAX_LOG_RATIO || reference - logp > MAX_LOG_RATIO;
        match evaluate(&[of], &[vec![logp]], &config) {
            Ok((loss, metrics, derivatives)) => {
                prop_assert!(!far && loss.is_finite() && derivatives[0][0].is_finite());
                prop_assert!(metrics.kl.unwrap().is_finite() && metrics.ratio.is_finite());
            }
            Err(error) => {
                prop_assert!(error.to_string().contains("of completion 0, token 0: found"));
                prop_assert!(far || error.to_string().contains("fits f32"));
            }
        }
    }
}
