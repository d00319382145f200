//! What is sampled is what is learned from, bit for bit.

use latent_kernels::cpu::Cpu;
use latent_kernels::{Dtype, Reference};
use latent_train::grpo::{
    Completion, GrpoConfig, GrpoLoss, LossType, Sampled, Span, gradients, logprobs,
};
use latent_train::model::mla::AttendBackward;
use latent_train::model::moe::ExpertsBackward;
use latent_train::model::sampling::{Sampler, SamplingConfig};
use latent_train::model::{Feed, Form, Model};
use latent_train::{LossConfig, Sequence};

use super::model::{CASES, load, load_as};

/// Answers that a model samples to prompts of 1 to 3 tokens, one token at a time and all in one batch,
/// and the log-probability of each token as it was decoded.
pub(super) fn rollout<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    form: Form,
) -> Vec<Completion> {
    let (backend, vocab) = (model.backend(), model.config().vocab_size);
    let lengths = [7, 3, 12, 1, 5];
    let mut cache = model.cache(64 * lengths.len()).unwrap();
    let names: Vec<_> = lengths.iter().map(|_| cache.new_sequence()).collect();
    let mut all: Vec<Completion> = (0..lengths.len())
        .map(|i| {
            let start = 1 + i % 3;
            let tokens = (0..start).map(|j| u32::try_from(17 * i + 5 * j + 1).unwrap()).collect();
            let advantage = [0.7, -1.1, 0.4, -0.2, 0.0][i];
            let sampled = Sampled { advantage, ..Sampled::default() };
            Completion { tokens, completion: start..start + lengths[i], sampled }
        })
        .collect();
    let mut samplers: Vec<Sampler> = (0..lengths.len())
        .map(|i| SamplingConfig { temperature: 1.0, seed: i as u64, ..SamplingConfig::default() })
        .map(|config| Sampler::new(config).unwrap())
        .collect();
    for position in 0..15 {
        let open: Vec<usize> = (0..all.len()).filter(|&i| all[i].tokens.len() > position).collect();
        let feeds: Vec<_> = open
            .iter()
            .map(|&i| Feed { sequence: names[i], tokens: &all[i].tokens[position..=position] })
            .collect();
        if feeds.is_empty() {
            break;
        }
        let hidden = model.forward(&mut cache, &feeds, form, &mut ()).unwrap();
        let logits = backend.download(&model.logits(&hidden).unwrap()).unwrap();
        for (row, &i) in open.iter().enumerate() {
            let of = &mut all[i];
            if position + 1 < of.completion.start || position + 1 == of.completion.end {
                continue;
            }
            let logits = &logits[row * vocab..][..vocab];
            let next = samplers[i].next(logits, &of.tokens).unwrap();
            let row = backend.upload(logits, &[1, vocab]).unwrap();
            let loss = backend.cross_entropy(&row, &[next], &[0.0]).unwrap().0[0];
            of.tokens.push(next);
            of.sampled.old_logps.push(-loss);
        }
    }
    assert!(all.iter().all(|of| of.tokens.len() == of.completion.end));
    all
}

fn first_update_has_ratios_of_1<B: AttendBackward + ExpertsBackward>(backend: &B, dtype: Dtype) {
    for case in CASES {
        let model = load_as(backend.clone(), case, dtype);
        for form in [Form::Expanded, Form::Absorbed] {
            let batch = rollout(&model, form);
            let spans: Vec<Span<'_>> = batch.iter().map(Completion::span).collect();
            let again = logprobs(&model, &spans, 1.0, form, 3).unwrap();
            for (of, again) in batch.iter().zip(&again) {
                let bits = |logps: &[f64]| logps.iter().map(|l| l.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&of.sampled.old_logps), bits(again), "{case}, {form:?}");
            }
            let grpo = GrpoConfig { beta: 0.0, ..GrpoConfig::default() };
            let config = GrpoLoss { grpo, form, logits_chunk: 4, ..GrpoLoss::default() };
            let (report, _) = gradients(&model, &batch, &config, &mut ()).unwrap();
            assert_eq!(report.metrics.max_ratio_deviation, 0.0, "{case}, {form:?}");
            assert_eq!((report.metrics.ratio, report.metrics.tokens), (1.0, 28));
            assert_eq!((report.metrics.clip_region, report.metrics.kl), (0.0, None));
        }
    }
}

#[test]
fn in_the_first_update_every_ratio_is_exactly_1() {
    first_update_has_ratios_of_1(&Reference::<f64>::new(), Dtype::F64);
    first_update_has_ratios_of_1(&Reference::<f32>::new(), Dtype::F32);
    first_update_has_ratios_of_1(&Cpu::new(), Dtype::F32);
    first_update_has_ratios_of_1(&Cpu::new().bf16(), Dtype::Bf16);
}

#[test]
fn at_another_temperature_so_they_are_by_the_log_probabilities_of_that() {
    let model = load(Cpu::new(), "v3");
    let mut batch = rollout(&model, Form::Expanded);
    for temperature in [0.6, 1.7] {
        let spans: Vec<Span<'_>> = batch.iter().map(Completion::span).collect();
        let logps = logprobs(&model, &spans, temperature, Form::Expanded, 1024).unwrap();
        assert_ne!(logps[0], batch[0].sampled.old_logps);
        for (of, logps) in batch.iter_mut().zip(logps) {
            of.sampled.old_logps = logps.clone();
            of.sampled.ref_logps = Some(logps);
        }
        let grpo = GrpoConfig { temperature, ..GrpoConfig::default() };
        let config = GrpoLoss { grpo, logits_chunk: 5, ..GrpoLoss::default() };
        let (report, _) = gradients(&model, &batch, &config, &mut ()).unwrap();
        assert_eq!((report.metrics.max_ratio_deviation, report.metrics.kl), (0.0, Some(0.0)));
    }
}

/// With a ratio of 1 and an advantage of 1 the gradient is that of the cross-entropy of the answers.
#[test]
fn answers_that_are_all_as_good_are_learned_as_text() {
    for case in CASES {
        let model = load(Cpu::new(), case);
        let mut batch = rollout(&model, Form::Expanded);
        batch.iter_mut().for_each(|of| of.sampled.advantage = 1.0);
        let grpo = GrpoConfig { beta: 0.0, loss_type: LossType::Dapo, ..GrpoConfig::default() };
        let config = GrpoLoss { grpo, logits_chunk: 6, ..GrpoLoss::default() };
        let (report, got) = gradients(&model, &batch, &config, &mut ()).unwrap();
        let text: Vec<Sequence> = batch
            .iter()
            .map(|of| {
                let mut sequence = Sequence::of(&of.tokens);
                sequence.targets[..of.completion.start - 1].fill(None);
                sequence
            })
            .collect();
        let config = LossConfig { logits_chunk: 6, ..LossConfig::default() };
        let (losses, want) = latent_train::gradients(&model, &text, &config, &mut ()).unwrap();
        assert_eq!(losses.targets, report.metrics.tokens);
        assert!(got == want, "{case}: other gradients");
        assert!((report.loss + 1.0).abs() < 1e-12);
    }
}
