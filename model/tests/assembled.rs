//! What an assembled model promises, for every kind of attention and feed-forward.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "assembled/random_model.rs"]
mod random_model;

use latent_model::kernels::{Backend, Reference};
use latent_model::mla::{PagedCache, SequenceId};
use latent_model::sampling::SamplingConfig;
use latent_model::{Feed, Finish, Form, GenerateOptions, Generation, Model, ModelError};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use random_model::{config, random_model, zoo};

type Cpu = Reference<f32>;

fn runs(cases: u32) -> ProptestConfig {
    let persistence = FileFailurePersistence::WithSource("proptest-regressions");
    ProptestConfig {
        failure_persistence: Some(Box::new(persistence)),
        ..ProptestConfig::with_cases(cases)
    }
}

/// The logits' bits of `tokens` appended to `sequence`.
fn feed(
    model: &Model<Cpu>,
    cache: &mut PagedCache<Cpu>,
    sequence: SequenceId,
    tokens: &[u32],
    form: Form,
) -> Vec<u32> {
    let hidden = model.forward(cache, &[Feed { sequence, tokens }], form, &mut ()).unwrap();
    let logits = model.backend().download(&model.logits(&hidden).unwrap()).unwrap();
    logits.into_iter().map(f32::to_bits).collect()
}

fn prefill(model: &Model<Cpu>, tokens: &[u32], form: Form) -> Vec<u32> {
    let mut cache = model.cache(256).unwrap();
    let sequence = cache.new_sequence();
    feed(model, &mut cache, sequence, tokens, form)
}

fn prompt(max: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0_u32..144, 1..max)
}

fn fixed_form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Expanded), Just(Form::Absorbed)]
}

proptest! {
    #![proptest_config(runs(24))]

    #[test]
    fn decode_and_chunks_equal_prefill_bit_for_bit(
        kind in 0..zoo().len(),
        tokens in prompt(80),
        chunk in 1_usize..70,
        form in fixed_form(),
        seed in 0_u64..100,
    ) {
        let (name, config) = &zoo()[kind];
        let model = random_model::<f32>(config, seed);
        let whole = prefill(&model, &tokens, form);
        for chunk in [1, chunk] {
            let mut cache = model.cache(256).unwrap();
            let sequence = cache.new_sequence();
            let parts: Vec<u32> = tokens
                .chunks(chunk)
                .flat_map(|part| feed(&model, &mut cache, sequence, part, form))
                .collect();
            prop_assert!(parts == whole, "{name}, chunks of {chunk}");
        }
    }

    #[test]
    fn batch_mates_and_threads_change_no_bit(
        kind in 0..zoo().len(),
        prompts in prop::collection::vec(prompt(20), 1..5),
        form in prop_oneof![fixed_form(), Just(Form::Auto)],
        threads in 1_usize..4,
    ) {
        let (name, config) = &zoo()[kind];
        let model = random_model::<f32>(config, 1);
        let alone: Vec<u32> =
            prompts.iter().flat_map(|tokens| prefill(&model, tokens, form)).collect();
        let mut cache = model.cache(512).unwrap();
        let feeds: Vec<_> = prompts
            .iter()
            .map(|tokens| Feed { sequence: cache.new_sequence(), tokens })
            .collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let together: Vec<u32> = pool.install(|| {
            let hidden = model.forward(&mut cache, &feeds, form, &mut ()).unwrap();
            let logits = model.backend().download(&model.logits(&hidden).unwrap()).unwrap();
            logits.into_iter().map(f32::to_bits).collect()
        });
        prop_assert!(together == alone, "{name}");
    }

    #[test]
    fn future_tokens_do_not_change_the_past(
        kind in 0..zoo().len(),
        tokens in prompt(30),
        future in prompt(30),
        form in fixed_form(),
    ) {
        let (name, config) = &zoo()[kind];
        let model = random_model::<f32>(config, 2);
        let past = prefill(&model, &tokens, form);
        let both = prefill(&model, &[&tokens[..], &future].concat(), form);
        prop_assert!(both[..past.len()] == past, "{name}");
    }

    #[test]
    fn forks_and_truncations_equal_separate_runs(
        kind in 0..zoo().len(),
        tokens in prompt(100),
        a in prompt(10),
        b in prompt(10),
        form in fixed_form(),
    ) {
        let (name, config) = &zoo()[kind];
        let model = random_model::<f32>(config, 3);
        let mut cache = model.cache(512).unwrap();
        let first = cache.new_sequence();
        feed(&model, &mut cache, first, &tokens, form);
        let second = cache.fork(first).unwrap();
        let forked = [(first, &a), (second, &b)]
            .map(|(sequence, tokens)| feed(&model, &mut cache, sequence, tokens, form));
        cache.truncate(first, tokens.len()).unwrap();
        let again = feed(&model, &mut cache, first, &b, form);
        let separate = [&a, &b].map(|tail| {
            let all = prefill(&model, &[&tokens[..], tail].concat(), form);
            all[tokens.len() * config.vocab_size..].to_vec()
        });
        prop_assert!(forked == separate, "{name}: forks");
        prop_assert!(again == separate[1], "{name}: truncated");
    }

    #[test]
    fn a_seed_and_any_chunk_give_the_same_continuation(
        kind in 0..zoo().len(),
        tokens in prompt(40),
        chunk in 1_usize..50,
        seed in any::<u64>(),
    ) {
        let (_, config) = &zoo()[kind];
        let model = random_model::<f32>(config, 4);
        let sampling =
            SamplingConfig { temperature: 1.0, top_p: 0.9, seed, ..SamplingConfig::default() };
        let [a, b] = [None, Some(chunk)].map(|chunk| {
            generate(&model, &tokens, GenerateOptions { sampling, chunk, ..options(8) }).0
        });
        prop_assert_eq!(a, b);
    }
}

fn options(max_new_tokens: usize) -> GenerateOptions {
    GenerateOptions {
        sampling: SamplingConfig::default(),
        eos_token_ids: Vec::new(),
        max_new_tokens,
        form: Form::Absorbed,
        chunk: None,
    }
}

fn generate(
    model: &Model<Cpu>,
    prompt: &[u32],
    options: GenerateOptions,
) -> (Vec<u32>, Option<Finish>) {
    let mut cache = model.cache(256).unwrap();
    let sequence = cache.new_sequence();
    let mut generation = Generation::new(model, &mut cache, sequence, prompt, options).unwrap();
    let tokens = generation.by_ref().map(Result::unwrap).collect();
    (tokens, generation.finish())
}

#[test]
fn generation_ends_at_an_end_token_or_at_the_limit() {
    let model = random_model(&config("v3"), 5);
    let (tokens, finish) = generate(&model, &[3, 4], options(6));
    assert_eq!((tokens.len(), finish), (6, Some(Finish::Length)));
    let eos = tokens[4];
    let first = tokens.iter().position(|&t| t == eos).unwrap();
    let with_eos = GenerateOptions { eos_token_ids: vec![eos], ..options(6) };
    let (cut, finish) = generate(&model, &[3, 4], with_eos);
    assert_eq!((&cut[..], finish), (&tokens[..first], Some(Finish::Eos(eos))));
    assert!(generate(&model, &[3, 4], options(0)).0.is_empty());
}

#[test]
fn generation_goes_on_from_a_filled_cache() {
    let model = random_model(&config("v2"), 6);
    let (want, _) = generate(&model, &[5, 6, 7, 8], options(5));
    let mut cache = model.cache(128).unwrap();
    let sequence = cache.new_sequence();
    feed(&model, &mut cache, sequence, &[5, 6], Form::Absorbed);
    let forked = cache.fork(sequence).unwrap();
    let generation =
        Generation::new(&model, &mut cache, forked, &[5, 6, 7, 8], options(5)).unwrap();
    assert_eq!(generation.map(Result::unwrap).collect::<Vec<_>>(), want);
}

#[test]
fn an_empty_prompt_is_an_error() {
    let model = random_model::<f32>(&config("v2"), 6);
    let mut cache = model.cache(64).unwrap();
    let sequence = cache.new_sequence();
    let error = Generation::new(&model, &mut cache, sequence, &[], options(1)).unwrap_err();
    assert_eq!(error.to_string(), "prompt: want at least one token");
}

#[test]
fn an_empty_batch_is_an_empty_result() {
    let model = random_model::<f32>(&config("v3"), 7);
    let mut cache = model.cache(64).unwrap();
    let hidden = model.forward(&mut cache, &[], Form::Auto, &mut ()).unwrap();
    assert_eq!(hidden.shape(), [0, 80]);
    assert_eq!(model.logits(&hidden).unwrap().shape(), [0, 320]);
}

#[test]
fn an_error_leaves_the_cache_as_it_was() {
    let model = random_model::<f32>(&config("v3"), 8);
    let mut cache = model.cache(64).unwrap();
    let sequence = cache.new_sequence();
    feed(&model, &mut cache, sequence, &[1, 2, 3], Form::Absorbed);
    let bytes = cache.bytes();

    let tokens = [9, 320];
    let feeds = [Feed { sequence, tokens: &tokens }];
    let error = model.forward(&mut cache, &feeds, Form::Absorbed, &mut ()).unwrap_err();
    assert_eq!(error.to_string(), "token id 320 is not below vocab_size 320");

    let long = [7; 62];
    let feeds = [Feed { sequence, tokens: &long }];
    let error = model.forward(&mut cache, &feeds, Form::Absorbed, &mut ()).unwrap_err();
    assert!(error.to_string().contains("cache full"), "{error}");

    struct Stop;
    impl latent_model::Observer<Cpu> for Stop {
        fn hidden(&mut self, index: usize, _: &<Cpu as Backend>::Tensor) -> Result<(), ModelError> {
            if index < 2 { Ok(()) } else { Err(ModelError::Empty("stopped")) }
        }
    }
    let feeds = [Feed { sequence, tokens: &[4] }];
    model.forward(&mut cache, &feeds, Form::Absorbed, &mut Stop).unwrap_err();

    assert_eq!((cache.len(sequence).unwrap(), cache.bytes()), (3, bytes));
    let after = feed(&model, &mut cache, sequence, &[4], Form::Absorbed);
    let want = prefill(&model, &[1, 2, 3, 4], Form::Absorbed);
    assert!(after == want[3 * 320..]);
}

#[test]
fn a_cache_of_another_model_is_refused() {
    let (a, b) = (random_model::<f32>(&config("v3"), 9), random_model::<f32>(&config("v2"), 9));
    let mut cache = b.cache(64).unwrap();
    let sequence = cache.new_sequence();
    let feeds = [Feed { sequence, tokens: &[1] }];
    a.forward(&mut cache, &feeds, Form::Absorbed, &mut ()).unwrap_err();
    assert_eq!(cache.len(sequence).unwrap(), 0);
}

#[test]
fn a_model_without_a_second_prediction_says_so() {
    let model = random_model::<f32>(&config("v3"), 10);
    let mut cache = model.mtp_cache(64).unwrap();
    let hidden = model.backend().upload(&[], &[0, 80]).unwrap();
    let error = model.forward_mtp(0, &hidden, &[], &mut cache, Form::Auto).unwrap_err();
    assert_eq!(error.to_string(), "multi-token-prediction layer 0: the model has 0");
}

#[test]
fn all_four_kinds_answer_their_bytes_per_token() {
    let bytes = |config| random_model::<f32>(&config, 11).cache(64).unwrap().bytes_per_token();
    let v3 = config("v3");
    let grouped = |heads| random_model::with_grouped_attention(v3.clone(), heads);
    assert_eq!(bytes(v3.clone()), 4 * (36 + 16) * 4);
    assert_eq!(bytes(grouped(4)), 4 * 2 * 4 * 10 * 4);
    assert_eq!(bytes(grouped(2)), 4 * 2 * 2 * 10 * 4);
    assert_eq!(bytes(grouped(1)), 4 * 2 * 10 * 4);
}
