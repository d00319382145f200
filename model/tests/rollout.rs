//! What is sampled equals what is trained on: the probabilities of tokens that were decoded one by one,
//! in a batch whose sequences end at different times, are those of the training step's forward pass.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::path::Path;

use latent_model::kernels::cpu::Cpu;
use latent_model::kernels::{Backend, Reference, Scalar};
use latent_model::mla::AttendBackward;
use latent_model::moe::{Experts, ExpertsBackward};
use latent_model::{Feed, Form, Keep, LoadOptions, Model, ModelError, Observer};

/// The cases: latent attention with every gate, and MHA, GQA and MQA.
const CASES: [&str; 9] = [
    "v2_lite",
    "v2",
    "v3",
    "kimi_k2",
    "deepseek",
    "deepseek_gqa",
    "llama",
    "llama_mha",
    "llama_mqa",
];

/// Gives a backend's runs a name each.
macro_rules! equals_training {
    ($name:ident, $backend:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn a_rollout_has_the_bits_of_training() {
                CASES.into_iter().for_each(|case| rollout_equals_training(&$backend, case));
            }

            #[test]
            fn so_has_a_multi_token_layer() {
                multi_token_layer_equals_training(&$backend);
            }
        }
    };
}

equals_training!(reference_f32, Reference::<f32>::new());
equals_training!(reference_f64, Reference::<f64>::new());
equals_training!(cpu, Cpu::new());
equals_training!(cpu_bf16, Cpu::new().bf16());

/// The bits of what a gate chose for a token: experts, and their weights.
type Choice = (Vec<usize>, Vec<u64>);

/// What a model said of a token: the bits of its logits, and what each layer's gate chose.
#[derive(Debug, Default, Clone, PartialEq)]
struct Said {
    logits: Vec<u64>,
    choices: Vec<(usize, Choice)>,
}

/// Keeps what gates choose, by layer.
struct Choices<'a, B> {
    backend: &'a B,
    of_layers: BTreeMap<usize, Vec<Choice>>,
}

impl<B: Backend + Experts> Observer<B> for Choices<'_, B> {
    fn routing(&mut self, layer: usize, routing: &B::Routing) -> Result<(), ModelError> {
        let routing = self.backend.host_routing(routing)?;
        let choice = |token| {
            let (experts, weights) = routing.token(token);
            (experts.to_vec(), weights.iter().map(|w| w.to_bits()).collect())
        };
        self.of_layers.insert(layer, (0..routing.tokens()).map(choice).collect());
        Ok(())
    }
}

fn bits<T: Scalar>(values: Vec<T>) -> Vec<u64> {
    values.into_iter().map(|v| v.as_f64().to_bits()).collect()
}

/// What was said of each row of `hidden`.
fn said<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    hidden: &B::Tensor,
    choices: Choices<'_, B>,
) -> Vec<Said> {
    let logits = bits(model.backend().download(&model.logits(hidden).unwrap()).unwrap());
    let of_row = |(row, logits): (usize, &[u64])| Said {
        logits: logits.to_vec(),
        choices: choices.of_layers.iter().map(|(&l, of)| (l, of[row].clone())).collect(),
    };
    logits.chunks(model.config().vocab_size).enumerate().map(of_row).collect()
}

/// The ids and what was said of each, for sequences that begin with `prompts` and go on greedily until
/// they are as long as `lengths` say, one token at a time and all in one batch.
fn rollout<B: AttendBackward + ExpertsBackward>(
    model: &Model<B>,
    prompts: &[Vec<u32>],
    lengths: &[usize],
    form: Form,
) -> (Vec<Vec<u32>>, Vec<Vec<Said>>) {
    let room = lengths.iter().map(|length| length.next_multiple_of(64)).sum();
    let mut cache = model.cache(room).unwrap();
    let names: Vec<_> = lengths.iter().map(|_| cache.new_sequence()).collect();
    let (mut ids, mut all) = (prompts.to_vec(), vec![Vec::<Said>::new(); lengths.len()]);
    for position in 0..*lengths.iter().max().unwrap() {
        let running: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > position).collect();
        for &i in running.iter().filter(|&&i| prompts[i].len() <= position) {
            let logits = all[i][position - 1].logits.iter().map(|&bits| f64::from_bits(bits));
            let best = logits.enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
            ids[i].push(u32::try_from(best.0).unwrap());
        }
        let feeds: Vec<_> = running
            .iter()
            .map(|&i| Feed { sequence: names[i], tokens: &ids[i][position..=position] })
            .collect();
        let mut choices = Choices { backend: model.backend(), of_layers: BTreeMap::new() };
        let hidden = model.forward(&mut cache, &feeds, form, &mut choices).unwrap();
        for (&i, said) in running.iter().zip(said(model, &hidden, choices)) {
            all[i].push(said);
        }
    }
    (ids, all)
}

fn load<B: AttendBackward + ExpertsBackward>(backend: &B, case: &str) -> Model<B> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(case);
    Model::load(backend.clone(), &dir, &LoadOptions::default()).unwrap().0
}

/// Prompts of 1 to 3 tokens, and to what length each is continued: one behind the end of a page, and one
/// that ends with its prompt.
fn batch(sequences: u32, vocab: u32) -> (Vec<Vec<u32>>, Vec<usize>) {
    let prompt = |i: u32| (0..=i % 3).map(|j| (17 * i + 5 * j + 1) % vocab).collect();
    let prompts: Vec<Vec<u32>> = (0..sequences).map(prompt).collect();
    let lengths = prompts.iter().enumerate().map(|(i, prompt)| match i {
        0 => 66,
        _ => prompt.len() + 7 * i % 10,
    });
    let lengths = lengths.collect();
    (prompts, lengths)
}

fn rollout_equals_training<B: AttendBackward + ExpertsBackward>(backend: &B, case: &str) {
    let model = load(backend, case);
    let vocab = model.config().vocab_size;
    for form in [Form::Expanded, Form::Absorbed] {
        for sequences in [1, 7, 32] {
            let (prompts, lengths) = batch(sequences, u32::try_from(vocab).unwrap());
            let (ids, decoded) = rollout(&model, &prompts, &lengths, form);
            assert!(ids.iter().zip(&lengths).all(|(ids, &length)| ids.len() == length));

            let of: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
            let mut choices = Choices { backend, of_layers: BTreeMap::new() };
            let (hidden, _) =
                model.forward_saving(&of, form, Keep::Products, &mut choices).unwrap();
            let gates = choices.of_layers.len();
            assert_eq!(gates > 0, model.config().moe.is_some(), "{case}: gates");
            let trained = said(&model, &hidden, choices);
            let decoded: Vec<Said> = decoded.into_iter().flatten().collect();
            assert!(decoded.iter().all(|said| said.choices.len() == gates));
            assert!(decoded == trained, "{case}, {form:?}, {sequences} sequences");

            // Log-probabilities: of the training step, and of each decoded token alone.
            let next = |ids: &[u32]| ids[1..].iter().copied().map(Some).chain([None]).collect();
            let targets: Vec<Option<u32>> =
                of.iter().flat_map(|ids| -> Vec<_> { next(ids) }).collect();
            let of_step = model.cross_entropy(&hidden, &targets, 1.0, 5).unwrap().losses;
            let alone = decoded.iter().zip(&targets).filter_map(|(said, target)| {
                let logits = said.logits.iter().map(|&bits| Scalar::from_f64(f64::from_bits(bits)));
                let logits: Vec<B::Scalar> = logits.collect();
                let logits = backend.upload(&logits, &[1, vocab]).unwrap();
                Some(backend.cross_entropy(&logits, &[(*target)?], &[1.0]).unwrap().0[0])
            });
            assert!(bits(of_step) == bits(alone.collect()), "{case}, {form:?}: probabilities");
        }
    }
}

/// The same of a multi-token-prediction layer, which is fed a token and the state before it.
fn multi_token_layer_equals_training<B: AttendBackward + ExpertsBackward>(backend: &B) {
    let model = load(backend, "v3_mtp");
    let sequences: [&[u32]; 3] = [&[9, 8, 7, 6, 5], &[300], &[4, 4, 31]];
    let width = model.config().hidden_size;
    for form in [Form::Expanded, Form::Absorbed] {
        let (hidden, _) = model.forward_saving(&sequences, form, Keep::Inputs, &mut ()).unwrap();
        let (trained, _) = model.forward_mtp_saving(0, &hidden, &sequences, form).unwrap();
        let trained = bits(backend.download(&trained).unwrap());
        let mut cache = model.mtp_cache(192).unwrap();
        let mut row = 0;
        for tokens in sequences {
            let sequence = cache.new_sequence();
            for token in tokens.chunks(1) {
                let input = backend.select_rows(&hidden, &[row]).unwrap();
                let feed = [Feed { sequence, tokens: token }];
                let out = model.forward_mtp(0, &input, &feed, &mut cache, form).unwrap();
                let out = bits(backend.download(&out).unwrap());
                assert!(out == trained[row * width..][..width], "{form:?}, row {row}");
                row += 1;
            }
        }
    }
}
