//! Continuations in a batch: the same whatever goes on beside them, and as probable as training says.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;
use std::slice;

use latent_kernels::Reference;
use latent_kernels::cpu::Cpu;
use latent_model::mla::AttendBackward;
use latent_model::moe::{Experts, ExpertsBackward};
use latent_model::{Form, Keep, LoadOptions, Model, ModelError, Observer};
use latent_train::grpo::{Span, logprobs};
use latent_train::{Continuation, RolloutConfig, rollout};

fn load<B: AttendBackward + ExpertsBackward>(backend: &B, case: &str) -> Model<B> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(case);
    Model::load(backend.clone(), &dir, &LoadOptions::default()).unwrap().0
}

fn config(batch_size: usize) -> RolloutConfig {
    RolloutConfig {
        num_generations: 5,
        max_completion_length: 9,
        temperature: 1.0,
        // Some end early, most do not.
        eos_token_ids: (0..20).collect(),
        batch_size,
        form: Form::Absorbed,
        experts: true,
        seed: 3,
    }
}

/// Prompts of one token and of more, one of them there twice, one longer than a page.
fn prompts() -> Vec<Vec<u32>> {
    vec![vec![7], vec![30, 2, 41], vec![7], (0..70).map(|i| i % 50 + 3).collect()]
}

#[test]
fn no_token_depends_on_how_many_go_on_at_once() {
    for case in ["v3", "v2_lite", "deepseek_gqa"] {
        let model = load(&Cpu::new(), case);
        let want = rollout(slice::from_ref(&model), &prompts(), &config(1)).unwrap();
        assert_eq!(want.len(), 4 * 5);
        for batch_size in [2, 7, 64] {
            assert_eq!(
                rollout(slice::from_ref(&model), &prompts(), &config(batch_size)).unwrap(),
                want,
                "{case}"
            );
        }
        let three = [load(&Cpu::new(), case), load(&Cpu::new(), case), load(&Cpu::new(), case)];
        assert_eq!(rollout(&three, &prompts(), &config(2)).unwrap(), want, "{case}");
        let places: Vec<_> = want.iter().map(|c| (c.prompt, c.member)).collect();
        let each = (0..4).flat_map(|prompt| (0..5).map(move |member| (prompt, member)));
        assert_eq!(places, each.collect::<Vec<_>>());
    }
}

#[test]
fn a_continuation_ends_with_its_end_or_at_its_length() {
    let model = load(&Cpu::new(), "v3");
    let (config, found) =
        (config(8), rollout(&[load(&Cpu::new(), "v3")], &prompts(), &config(8)).unwrap());
    assert!(found.iter().any(|c| c.ended) && found.iter().any(|c| !c.ended));
    for Continuation { tokens, logps, ended, .. } in &found {
        assert_eq!(tokens.len(), logps.len());
        let (last, before) = tokens.split_last().unwrap();
        assert!(before.iter().all(|token| !config.eos_token_ids.contains(token)));
        assert_eq!(config.eos_token_ids.contains(last), *ended);
        assert!(*ended || tokens.len() == 9);
    }
    let again =
        rollout(slice::from_ref(&model), &prompts(), &RolloutConfig { seed: 4, ..config.clone() })
            .unwrap();
    assert_ne!(again, found);
    // The same prompt at another place has other draws.
    let of =
        |prompt| found.iter().filter(|c| c.prompt == prompt).map(|c| &c.tokens).collect::<Vec<_>>();
    assert_ne!(of(0), of(2));
}

/// The probabilities of a training step's forward pass.
fn trained<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    prompt: &[u32],
    found: &Continuation,
    temperature: f64,
) -> Vec<u64> {
    let tokens = [prompt, &found.tokens].concat();
    let span = Span { tokens: &tokens, completion: prompt.len()..tokens.len() };
    let logps = logprobs(model, &[span], temperature, Form::Absorbed, 4).unwrap();
    logps[0].iter().map(|logp| logp.to_bits()).collect()
}

/// The experts of a forward pass, layer by layer of each token.
struct Chosen<'a, B>(&'a B, Vec<Vec<usize>>);

impl<B: Experts> Observer<B> for Chosen<'_, B> {
    fn routing(&mut self, _: usize, routing: &B::Routing) -> Result<(), ModelError> {
        let routing = self.0.host_routing(routing)?;
        self.1.resize(routing.tokens(), Vec::new());
        for (token, experts) in self.1.iter_mut().enumerate() {
            experts.extend(routing.token(token).0);
        }
        Ok(())
    }
}

#[test]
fn every_token_goes_to_the_experts_of_training() {
    fn holds<B: AttendBackward + ExpertsBackward>(backend: &B) {
        for case in ["v3", "v2_lite", "deepseek_gqa"] {
            let model = load(backend, case);
            let none = RolloutConfig { experts: false, ..config(6) };
            let unasked = rollout(slice::from_ref(&model), &prompts(), &none).unwrap();
            let all = rollout(slice::from_ref(&model), &prompts(), &config(6)).unwrap();
            for (mut found, unasked) in all.into_iter().zip(unasked) {
                let tokens = [&prompts()[found.prompt], found.tokens.as_slice()].concat();
                let mut wanted = Chosen(backend, Vec::new());
                let (form, keep) = (Form::Absorbed, Keep::Products);
                model.forward_saving(&[&tokens], form, keep, &mut wanted).unwrap();
                // No layer saw the last token when it was drawn.
                let (_, wanted) = wanted.1.split_last().unwrap();
                assert!(wanted.iter().all(|experts| !experts.is_empty()));
                assert_eq!(std::mem::take(&mut found.experts), wanted, "{case}");
                assert_eq!(found, unasked);
            }
        }
    }
    holds(&Reference::<f32>::new());
    holds(&Cpu::new());
    holds(&Cpu::new().bf16());
}

#[test]
fn every_probability_has_the_bits_of_training() {
    fn holds<B: AttendBackward + ExpertsBackward>(backend: &B) {
        for case in ["v3", "v2_lite", "deepseek_gqa"] {
            let model = load(backend, case);
            for temperature in [1.0, 0.7] {
                let config = RolloutConfig { temperature, ..config(6) };
                for found in rollout(slice::from_ref(&model), &prompts(), &config).unwrap() {
                    let bits: Vec<u64> = found.logps.iter().map(|logp| logp.to_bits()).collect();
                    let prompt = &prompts()[found.prompt];
                    assert_eq!(bits, trained(&model, prompt, &found, temperature), "{case}");
                }
            }
        }
    }
    holds(&Reference::<f32>::new());
    holds(&Cpu::new());
    holds(&Cpu::new().bf16());
}

#[test]
fn tokens_are_drawn_as_often_as_they_are_probable() {
    let model = load(&Reference::<f64>::new(), "v3");
    let config = RolloutConfig { num_generations: 4000, max_completion_length: 1, ..config(64) };
    let found = rollout(slice::from_ref(&model), &[vec![5, 9]], &config).unwrap();
    let mut counts = vec![(0_u32, 0.0); model.config().vocab_size];
    for completion in &found {
        let (count, probability) = &mut counts[completion.tokens[0] as usize];
        *count += 1;
        *probability = completion.logps[0].exp();
    }
    for (token, (count, probability)) in counts.iter().enumerate().filter(|(_, (n, _))| *n > 40) {
        let expected = 4000.0 * probability;
        let deviation = (f64::from(*count) - expected).abs() / expected.sqrt();
        assert!(deviation < 5.0, "token {token}: {count} times, {expected} expected");
    }
    assert!(counts.iter().filter(|(n, _)| *n > 40).count() > 10, "too few to say anything");
}

#[test]
fn without_a_temperature_the_largest_logit_wins() {
    let model = load(&Cpu::new(), "v3");
    let config = RolloutConfig { temperature: 0.0, eos_token_ids: Vec::new(), ..config(3) };
    let found = rollout(slice::from_ref(&model), &prompts(), &config).unwrap();
    for completion in &found {
        let same = found.iter().find(|c| c.prompt == completion.prompt).unwrap();
        assert_eq!(completion.tokens, same.tokens);
        assert_eq!(completion.tokens.len(), 9);
    }
}

#[test]
fn edges() {
    let model = load(&Cpu::new(), "v3");
    let run = |prompts: &[Vec<u32>], config: &RolloutConfig| {
        rollout(slice::from_ref(&model), prompts, config)
    };
    assert_eq!(run(&[], &config(4)).unwrap(), []);
    let none = RolloutConfig { num_generations: 0, ..config(4) };
    assert_eq!(run(&prompts(), &none).unwrap(), []);
    let short = RolloutConfig { max_completion_length: 0, ..config(4) };
    assert_eq!(run(&prompts(), &short).unwrap(), []);
    assert_eq!(run(&prompts(), &config(0)).unwrap(), run(&prompts(), &config(1)).unwrap());
    let error = run(&[vec![1], vec![]], &config(4)).unwrap_err().to_string();
    assert!(error.contains("prompt"), "{error}");
    let hot = RolloutConfig { temperature: f64::NAN, ..config(4) };
    let error = run(&prompts(), &hot).unwrap_err().to_string();
    assert!(error.contains("temperature: must be in [0, 100], got NaN"), "{error}");
    let error = run(&[vec![1 << 20]], &config(4)).unwrap_err().to_string();
    assert!(error.contains("1048576"), "{error}");
}
