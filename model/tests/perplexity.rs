//! Perplexity against its definition, computed plainly from whole arrays of logits, and what changes no
//! bit of it.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::{Path, PathBuf};

use latent_model::conformance::Expected;
use latent_model::kernels::cpu::Cpu;
use latent_model::kernels::{Dtype, Reference};
use latent_model::mla::{Attend, CacheFormat};
use latent_model::moe::Experts;
use latent_model::perplexity::{
    Perplexity, PerplexityError, PerplexityOptions, TokenScore, perplexity,
};
use latent_model::trace::{TraceOptions, trace};
use latent_model::{Form, LoadOptions, Model, ModelError};
use safetensors::SafeTensors;

const CASES: [&str; 12] = [
    "v2_lite",
    "v2",
    "v3",
    "v3_fp8",
    "v3_mtp",
    "moonlight",
    "kimi_k2",
    "deepseek",
    "deepseek_gqa",
    "llama",
    "llama_mha",
    "llama_mqa",
];

/// A window as long as the text, unless it is cut.
const WHOLE: PerplexityOptions = PerplexityOptions {
    window: 64,
    bos: None,
    form: Form::Expanded,
    format: CacheFormat::Scalar,
    chunk: None,
};

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(name)
}

fn load<B: Attend + Experts>(backend: B, name: &str) -> Model<B> {
    Model::load(backend, &case(name), &LoadOptions::default()).unwrap().0
}

fn prompt(name: &str) -> Vec<u32> {
    Expected::open(&case(name)).unwrap().input_ids
}

fn scored<B: Attend + Experts>(
    model: &Model<B>,
    tokens: &[u32],
    options: PerplexityOptions,
) -> Perplexity {
    perplexity(model, tokens, &options, &mut |_| ()).unwrap()
}

/// `-ln (exp(l_target) / Σ exp(l_i))`, as it is written: the logits of the pack are small.
fn plain(row: &[f64], target: u32) -> f64 {
    let sum: f64 = row.iter().map(|logit| logit.exp()).sum();
    -(row[target as usize].exp() / sum).ln()
}

/// The logits that another program computed in `f64` for the prompt of a case.
fn golden_logits(name: &str) -> Vec<f64> {
    let bytes = std::fs::read(case(name).join("goldens.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let logits = file.tensor("ref64.logits").unwrap();
    assert_eq!(logits.dtype(), safetensors::Dtype::F64);
    let mut values = vec![f64::NAN; logits.data().len() / 8];
    Dtype::F64.decode(logits.data(), &mut values);
    values
}

/// Each window's tokens scored one by one from the trace of the window alone.
fn by_windows(
    model: &Model<Reference<f64>>,
    tokens: &[u32],
    window: usize,
    bos: Option<u32>,
) -> Vec<TokenScore> {
    let (vocab, mut scores, mut start) = (model.config().vocab_size, Vec::new(), 0);
    while start < tokens.len() {
        let end = tokens.len().min(start + window - bos.map_or(0, |_| 1));
        let ids = [&bos.map_or(vec![], |id| vec![id]), &tokens[start..end]].concat();
        let options = TraceOptions { form: Form::Expanded, chunk: 0, generate: 0 };
        let logits = trace(model, &ids, options).unwrap().logits;
        for i in 1..ids.len() {
            let nll = plain(&logits[(i - 1) * vocab..i * vocab], ids[i]);
            let position = if bos.is_some() { start + i - 1 } else { start + i };
            scores.push(TokenScore { position, nll });
        }
        start = end;
    }
    scores
}

#[track_caller]
fn near(got: &Perplexity, want: &[TokenScore], within: f64) {
    assert_eq!(got.scores.len(), want.len());
    for (got, want) in got.scores.iter().zip(want) {
        assert_eq!(got.position, want.position);
        assert!((got.nll - want.nll).abs() <= within, "{got:?}, want {want:?}");
    }
}

#[test]
fn scores_are_those_of_the_logits_of_another_program() {
    for name in CASES {
        let (ids, logits) = (prompt(name), golden_logits(name));
        let vocab = logits.len() / ids.len();
        let want: Vec<TokenScore> = (1..ids.len())
            .map(|position| {
                let row = &logits[(position - 1) * vocab..position * vocab];
                TokenScore { position, nll: plain(row, ids[position]) }
            })
            .collect();
        let total: f64 = want.iter().map(|score| score.nll).sum();
        let mean = total / want.len() as f64;

        let exact = scored(&load(Reference::<f64>::new(), name), &ids, WHOLE);
        near(&exact, &want, 2e-9);
        assert_eq!(exact.windows, 1);
        assert!((exact.mean_nll() - mean).abs() < 2e-9, "{name}");
        assert!((exact.perplexity() / mean.exp() - 1.0).abs() < 2e-9, "{name}");
        let absorbed = PerplexityOptions { form: Form::Absorbed, chunk: Some(5), ..WHOLE };
        near(&scored(&load(Reference::<f64>::new(), name), &ids, absorbed), &want, 2e-9);
        near(&scored(&load(Reference::<f32>::new(), name), &ids, WHOLE), &want, 2e-4);
        near(&scored(&load(Cpu::new(), name), &ids, WHOLE), &want, 2e-4);
    }
}

#[test]
fn a_window_sees_nothing_but_itself() {
    for name in ["v3", "llama"] {
        let (model, ids) = (load(Reference::<f64>::new(), name), prompt(name));
        for bos in [None, Some(1)] {
            for window in [2, 3, 7, 23, 24, 25, 26] {
                let found = scored(&model, &ids, PerplexityOptions { window, bos, ..WHOLE });
                near(&found, &by_windows(&model, &ids, window, bos), 1e-12);
                let text = window - usize::from(bos.is_some());
                assert_eq!(found.windows, ids.len().div_ceil(text), "{name} by {window}");
            }
        }
    }
}

#[test]
fn all_tokens_are_scored_behind_an_opening_and_all_but_one_a_window_without() {
    let (model, ids) = (load(Reference::<f32>::new(), "llama"), prompt("llama"));
    let positions = |window, bos| -> Vec<usize> {
        let found = scored(&model, &ids, PerplexityOptions { window, bos, ..WHOLE });
        found.scores.iter().map(|score| score.position).collect()
    };
    assert_eq!(positions(5, Some(0)), (0..24).collect::<Vec<_>>());
    let given = |i: &usize| !i.is_multiple_of(5);
    assert_eq!(positions(5, None), (0..24).filter(given).collect::<Vec<_>>());
    // The last window holds one token: it is given.
    assert_eq!(positions(23, None), (1..23).collect::<Vec<_>>());
}

#[test]
fn chunks_change_no_bit() {
    fn holds<B: Attend + Experts>(backend: B, name: &str, format: CacheFormat) {
        let model = load(backend, name);
        // More tokens than logits are held for at once.
        let vocab = u32::try_from(model.config().vocab_size).unwrap();
        let ids: Vec<u32> = (0..300).map(|i| i * 7 % vocab).collect();
        let context = model.config().max_position_embeddings;
        for window in [29, 200.min(context)] {
            let by = |chunk| {
                let options = PerplexityOptions { window, bos: Some(1), format, chunk, ..WHOLE };
                scored(&model, &ids, options)
            };
            let whole = by(None);
            for chunk in [1, 5, 28, 29, 30, 130, usize::MAX] {
                assert!(by(Some(chunk)) == whole, "{name} by {chunk} in {window}, {format}");
            }
        }
    }
    for name in ["v3", "llama"] {
        holds(Reference::<f64>::new(), name, CacheFormat::Scalar);
        holds(Reference::<f32>::new(), name, CacheFormat::Bf16);
        holds(Cpu::new(), name, CacheFormat::Bf16);
        holds(Cpu::new().int8(), name, CacheFormat::Scalar);
    }
    holds(Cpu::new(), "v3", CacheFormat::Fp8);
}

#[test]
fn rounding_moves_the_mean_by_little_but_not_by_nothing() {
    for name in ["llama", "llama_mha", "llama_mqa"] {
        let ids = prompt(name);
        let want = scored(&load(Reference::<f64>::new(), name), &ids, WHOLE).mean_nll();
        let bf16 = PerplexityOptions { format: CacheFormat::Bf16, ..WHOLE };
        let cached = scored(&load(Cpu::new(), name), &ids, bf16).mean_nll();
        let int8 = scored(&load(Cpu::new().int8(), name), &ids, WHOLE).mean_nll();
        for (got, least, most) in [(cached, 1e-7, 0.01), (int8, 1e-6, 0.05)] {
            let moved = (got - want).abs();
            assert!(moved > least && moved < most, "{name}: {got}, want {want}");
        }
    }
}

#[test]
fn progress_counts_tokens_of_the_text() {
    let (model, ids) = (load(Reference::<f32>::new(), "llama"), prompt("llama"));
    let done = |bos, chunk| {
        let options = PerplexityOptions { window: 10, bos, chunk, ..WHOLE };
        let mut done = Vec::new();
        perplexity(&model, &ids, &options, &mut |n| done.push(n)).unwrap();
        done
    };
    assert_eq!(done(Some(0), None), [9, 18, 24]);
    assert_eq!(done(None, None), [10, 20, 24]);
    assert_eq!(done(None, Some(4)), [5, 9, 10, 15, 19, 20, 24]);
}

#[test]
fn what_cannot_be_scored_is_named() {
    let model = load(Reference::<f32>::new(), "llama");
    let refused = |tokens: &[u32], options| {
        perplexity(&model, tokens, &options, &mut |_| ()).unwrap_err().to_string()
    };
    let context = model.config().max_position_embeddings;
    for window in [0, 1, context + 1, usize::MAX] {
        let want =
            format!("window: must be 2 to {context} tokens (the model's context), got {window}");
        assert_eq!(refused(&[1, 2, 3], PerplexityOptions { window, ..WHOLE }), want);
    }
    let short = |n| format!("{n} token(s) with the one that opens a text, want at least 2");
    let bos = PerplexityOptions { bos: Some(0), ..WHOLE };
    assert_eq!(refused(&[], WHOLE), short(0));
    assert_eq!(refused(&[7], WHOLE), short(1));
    assert_eq!(refused(&[], bos), short(1));
    assert_eq!(scored(&model, &[7], bos).scores.len(), 1);
    assert_eq!(scored(&model, &[7], bos).standard_error(), None);

    // Nobody feeds the last token: it is proved all the same.
    let outside = "token id 144 is not below vocab_size 144";
    assert_eq!(refused(&[1, 2, 144], WHOLE), outside);
    assert_eq!(refused(&[1, 2], PerplexityOptions { bos: Some(144), ..WHOLE }), outside);
    assert_eq!(refused(&[1, 144, 2], PerplexityOptions { chunk: Some(1), ..WHOLE }), outside);
    let latent = PerplexityOptions { format: CacheFormat::Fp8, ..WHOLE };
    assert!(matches!(
        perplexity(&model, &[1, 2], &latent, &mut |_| ()),
        Err(ModelError::Attention(_))
    ));
}

#[test]
fn a_logit_that_is_no_number_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(case("llama_mha")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    // The embedding of one token, which is no head here: what is predicted behind it is no number.
    let file = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let (header, tensors) = SafeTensors::read_metadata(&bytes).unwrap();
    let (begin, _) = tensors.info("model.embed_tokens.weight").unwrap().data_offsets;
    let (row, width) = (17, 48 * 4);
    let at = 8 + header + begin + row * width;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&file, bytes).unwrap();

    let (model, _) =
        Model::load(Reference::<f32>::new(), dir.path(), &LoadOptions::default()).unwrap();
    let place = |tokens: &[u32], options| match perplexity(&model, tokens, &options, &mut |_| ())
        .unwrap_err()
    {
        ModelError::Perplexity(PerplexityError::NotFinite { position, id, found }) => {
            assert!(id == 0 && found.is_nan());
            position
        }
        other => panic!("{other}"),
    };
    let tokens = [1, 2, 3, 4, 17, 6];
    assert_eq!(place(&tokens, WHOLE), 5);
    assert_eq!(place(&tokens, PerplexityOptions { chunk: Some(2), ..WHOLE }), 5);
    let bos = PerplexityOptions { window: 4, bos: Some(0), ..WHOLE };
    assert_eq!(place(&tokens, bos), 5);
    assert_eq!(place(&tokens, PerplexityOptions { bos: Some(17), ..WHOLE }), 0);
    // Where nothing is predicted behind it, it does no harm.
    assert_eq!(scored(&model, &[1, 2, 17], WHOLE).scores.len(), 2);
}
