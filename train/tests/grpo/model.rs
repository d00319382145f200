//! The objective through a model: backends, threads, chunks, parts and masks.

use std::path::Path;

use latent_kernels::cpu::{Cpu, Isa};
use latent_kernels::{Backend, Dtype, Reference, Scalar};
use latent_train::Parameters;
use latent_train::grpo::{
    Completion, GrpoConfig, GrpoLoss, GrpoReport, LossType, Whole, gradients,
};
use latent_train::model::config::ModelConfig;
use latent_train::model::mla::AttendBackward;
use latent_train::model::moe::ExpertsBackward;
use latent_train::model::moe::balance::BalanceLosses;
use latent_train::model::{Form, HeadChunk, Keep, Model, ModelError};

use super::rollout::rollout;

pub(super) const CASES: [&str; 4] = ["v3", "v2_lite", "deepseek_gqa", "llama_mqa"];

pub(super) fn load<B: AttendBackward + ExpertsBackward>(backend: B, case: &str) -> Model<B> {
    load_as(backend, case, Dtype::F64)
}

/// A model whose weights are stored in `dtype`.
pub(super) fn load_as<B: AttendBackward + ExpertsBackward>(
    backend: B,
    case: &str,
    dtype: Dtype,
) -> Model<B> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(case);
    let (sizes, _) = ModelConfig::from_dir(&dir).unwrap();
    let weights = Parameters::<B::Scalar>::from_dir(&dir, &sizes).unwrap();
    weights.model(backend, &sizes, dtype).unwrap()
}

/// A model of latent attention and experts.
pub(super) fn tiny() -> Model<Reference<f64>> {
    load(Reference::new(), "v3")
}

fn with_reference(mut batch: Vec<Completion>) -> Vec<Completion> {
    for (i, of) in batch.iter_mut().enumerate() {
        let moved = of.sampled.old_logps.iter().enumerate();
        let by = |t: usize| 0.3 * f64::from(u8::try_from((3 * t + i) % 5).unwrap()) - 0.6;
        of.sampled.ref_logps = Some(moved.map(|(t, logp)| logp + by(t)).collect());
    }
    batch
}

/// Moves what tokens were sampled with, so that ratios are on all sides of the clip.
fn aged(mut batch: Vec<Completion>) -> Vec<Completion> {
    for of in &mut batch {
        for (t, old) in of.sampled.old_logps.iter_mut().enumerate() {
            *old += [0.6, -0.1, -0.5, 0.15, 0.0][t % 5];
        }
    }
    batch
}

/// Weights that are equal make the very gradients of one scale, chunk by chunk.
#[test]
fn equal_weights_are_one_scale() {
    let model = load(Cpu::new(), "v3");
    let sequences: [&[u32]; 2] = [&[5, 17, 20, 8], &[3, 1, 4]];
    let (hidden, _) =
        model.forward_saving(&sequences, Form::Expanded, Keep::Inputs, &mut ()).unwrap();
    let targets = [Some(17), None, Some(8), Some(0), Some(1), Some(4), None];
    let want = model.cross_entropy(&hidden, &targets, -0.3, 2).unwrap();
    let mut shown = Vec::new();
    let weigh = |chunk: HeadChunk<'_, _>| {
        shown.push(chunk.at.clone());
        assert_eq!(chunk.losses, &want.losses[chunk.at]);
        Ok::<_, ModelError>(vec![-0.3; chunk.losses.len()])
    };
    let got = model.weighted_cross_entropy(&hidden, &targets, 1.0, 2, weigh).unwrap();
    assert_eq!(shown, [0..2, 2..4, 4..5]);
    assert!(got.losses == want.losses && got.d_hidden == want.d_hidden);
    assert_eq!(Vec::from_iter(got.gradients), Vec::from_iter(want.gradients));

    let minus: Vec<f64> = want.losses.iter().map(|loss| -loss).collect();
    assert_eq!(model.log_probs(&hidden, &targets, 1.0, 3).unwrap(), minus);
    let none = |_: HeadChunk<'_, _>| Ok::<_, ModelError>(vec![1.0]);
    let error = model.weighted_cross_entropy(&hidden, &targets, 1.0, 2, none).unwrap_err();
    assert_eq!(error.to_string(), "cross_entropy: scales: shape [1], want [2]");
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = model.weighted_cross_entropy(&hidden, &targets, temperature, 2, none);
        let wanted = format!("temperature: got {temperature}, want a finite number above 0");
        assert_eq!(error.unwrap_err().to_string(), wanted);
    }
}

fn full(chunk: usize) -> GrpoLoss {
    GrpoLoss {
        grpo: GrpoConfig { beta: 0.04, epsilon_high: Some(0.28), ..GrpoConfig::default() },
        balance: BalanceLosses { seq_aux: 0.01, sequence: 0.02, z: 0.003 },
        logits_chunk: chunk,
        ..GrpoLoss::default()
    }
}

fn run<B: AttendBackward + ExpertsBackward>(
    backend: B,
    case: &str,
    batch: &[Completion],
    config: &GrpoLoss,
) -> (GrpoReport, Parameters<B::Scalar>) {
    gradients(&load(backend, case), batch, config, &mut ()).unwrap()
}

#[test]
fn a_processor_is_near_the_reference() {
    for case in CASES {
        let exact = load(Reference::<f64>::new(), case);
        let batch = with_reference(aged(rollout(&exact, Form::Expanded)));
        let (want, of_want) = run(Reference::<f64>::new(), case, &batch, &full(7));
        assert!(want.metrics.clip_low > 0.0 && want.metrics.clip_high > 0.0, "{want:?}");
        for (got, of_got) in [
            run(Cpu::new(), case, &batch, &full(7)),
            run(Cpu::with(Isa::Portable, 2).unwrap(), case, &batch, &full(7)),
            run(Reference::<f32>::new(), case, &batch, &full(7)),
        ] {
            assert!((got.loss - want.loss).abs() < 1e-5, "{got:?}, {want:?}");
            assert!((got.balance - want.balance).abs() < 1e-5, "{got:?}, {want:?}");
            assert!((got.metrics.kl.unwrap() - want.metrics.kl.unwrap()).abs() < 1e-5);
            assert!((got.metrics.entropy.unwrap() - want.metrics.entropy.unwrap()).abs() < 1e-5);
            assert_eq!(got.metrics.clip_region, want.metrics.clip_region);
            for ((name, got), (_, want)) in of_got.iter().zip(of_want.iter()) {
                let largest = want.values().iter().fold(0.0_f64, |m, v| m.max(v.abs()));
                for (got, want) in got.values().iter().zip(want.values()) {
                    assert!((got.as_f64() - want).abs() <= 1e-4 * largest, "{case}: {name}");
                }
            }
        }
    }
}

#[test]
fn threads_and_what_is_kept_change_no_bit() {
    let batch = with_reference(aged(rollout(&load(Cpu::new(), "v3"), Form::Expanded)));
    let isa = Cpu::new().isa();
    let one = Cpu::with(isa, 1).unwrap();
    let (want, of_want) = run(one.clone(), "v3", &batch, &full(7));
    let (got, of_got) = run(Cpu::with(isa, 3).unwrap(), "v3", &batch, &full(7));
    assert_eq!(got, want);
    assert!(of_got == of_want, "threads change bits");
    let recomputed = GrpoLoss { keep: Keep::Inputs, ..full(7) };
    let (less, of_less) = run(one, "v3", &batch, &recomputed);
    assert!(less.activation_bytes < want.activation_bytes);
    assert_eq!(GrpoReport { activation_bytes: want.activation_bytes, ..less }, want);
    assert!(of_less == of_want, "computing layers again changes bits");
}

/// What a token weighs does not depend on its chunk; the sums over chunks are rounded otherwise.
#[test]
fn chunks_change_the_report_by_no_bit() {
    let batch = with_reference(aged(rollout(&tiny(), Form::Expanded)));
    let (want, of_want) = run(Reference::<f64>::new(), "v3", &batch, &full(1024));
    for chunk in [0, 1, 5, 28] {
        let (got, of_got) = run(Reference::<f64>::new(), "v3", &batch, &full(chunk));
        assert_eq!((got.loss, got.balance), (want.loss, want.balance));
        for ((name, got), (_, want)) in of_got.iter().zip(of_want.iter()) {
            for (got, want) in got.values().iter().zip(want.values()) {
                assert!((got - want).abs() < 1e-12, "{name}, chunks of {chunk}");
            }
        }
    }
}

#[test]
fn the_gradients_of_parts_add_up() {
    let batch = with_reference(aged(rollout(&tiny(), Form::Expanded)));
    for loss_type in [LossType::Grpo, LossType::Dapo, LossType::DrGrpo] {
        let mut config = full(1024);
        // Means over sequences add up as well; the z-loss is a mean over tokens.
        config.balance.z = 0.0;
        config.grpo.loss_type = loss_type;
        let (want, of_want) = run(Reference::<f64>::new(), "v3", &batch, &config);
        let whole = Whole::of(batch.iter().map(|of| &of.sampled), &config.grpo);
        assert_eq!(whole, Whole { completions: 5, tokens: 28 });
        config.whole = Some(whole);
        let (a, of_a) = run(Reference::<f64>::new(), "v3", &batch[..2], &config);
        let (b, of_b) = run(Reference::<f64>::new(), "v3", &batch[2..], &config);
        assert!((a.total() + b.total() - want.total()).abs() < 1e-12);
        let both = a.metrics.merge(&b.metrics);
        assert!((both.entropy.unwrap() - want.metrics.entropy.unwrap()).abs() < 1e-12);
        for (name, want) in of_want.iter() {
            let parts =
                of_a.get(name).unwrap().values().iter().zip(of_b.get(name).unwrap().values());
            for ((a, b), want) in parts.zip(want.values()) {
                assert!((a + b - want).abs() < 1e-12, "{loss_type:?}, {name}");
            }
        }
    }
}

/// By dense softmaxes of all logits.
#[test]
fn the_entropy_is_that_of_the_distributions_that_tokens_were_drawn_from() {
    let model = tiny();
    let batch = with_reference(rollout(&model, Form::Expanded));
    for temperature in [1.0, 0.5] {
        let (mut sum, mut tokens) = (0.0, 0);
        for of in &batch {
            let (hidden, _) =
                model.forward_saving(&[&of.tokens], Form::Expanded, Keep::Inputs, &mut ()).unwrap();
            let logits = model.backend().download(&model.logits(&hidden).unwrap()).unwrap();
            let rows = logits.chunks(model.config().vocab_size);
            for row in rows.skip(of.completion.start - 1).take(of.completion.len()) {
                let weights: Vec<f64> = row.iter().map(|x| (x / temperature).exp()).collect();
                let all: f64 = weights.iter().sum();
                sum -= weights.iter().map(|w| w / all * (w / all).ln()).sum::<f64>();
                tokens += 1;
            }
        }
        let mut config = full(5);
        config.grpo.temperature = temperature;
        let (report, _) = run(Reference::<f64>::new(), "v3", &batch, &config);
        assert!((report.metrics.entropy.unwrap() - sum / f64::from(tokens)).abs() < 1e-10);
        config.entropy = false;
        let (without, _) = run(Reference::<f64>::new(), "v3", &batch, &config);
        assert_eq!((without.metrics.entropy, without.loss), (None, report.loss));
    }
}

#[test]
fn truncated_completions_teach_nothing_where_they_are_masked() {
    let mut batch = with_reference(aged(rollout(&tiny(), Form::Expanded)));
    let mut config = full(5);
    config.balance = BalanceLosses::default();
    config.grpo.loss_type = LossType::Dapo;
    let (want, of_want) = run(Reference::<f64>::new(), "v3", &batch[1..], &config);
    batch[0].sampled.truncated = true;
    let (counted, _) = run(Reference::<f64>::new(), "v3", &batch, &config);
    assert_eq!((counted.metrics.tokens, counted.metrics.masked), (28, 0));
    config.grpo.mask_truncated_completions = true;
    let (got, of_got) = run(Reference::<f64>::new(), "v3", &batch, &config);
    assert_eq!((got.metrics.tokens, got.metrics.masked), (21, 1));
    assert_eq!(got.loss, want.loss);
    for ((name, got), (_, want)) in of_got.iter().zip(of_want.iter()) {
        for (got, want) in got.values().iter().zip(want.values()) {
            assert!((got - want).abs() < 1e-12, "{name}");
        }
    }
}
