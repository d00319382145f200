//! A model whose head is its embedding, from files that hold a head all the same.

#![expect(clippy::unwrap_used, reason = "a failure in a test is a panic")]

use std::fs;
use std::path::Path;

use latent_model::checkpoint::{Checkpoint, OpenOptions, TensorMeta, save};
use latent_model::kernels::{Backend, Reference};
use latent_model::{Feed, Form, LoadOptions, Model};

/// The tied conformance case, its embedding written once more as the head after `change`.
fn with_a_head(change: impl Fn(&mut Vec<u8>)) -> tempfile::TempDir {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/llama");
    let files = Checkpoint::open(&released, OpenOptions::default()).unwrap();
    let tensor = |name: &str| {
        let info = files.info(name).unwrap();
        let weight = files.weight(name, info.shape).unwrap();
        let meta = TensorMeta::new(name, info.dtype, info.shape);
        (meta, weight.bytes().as_slice().to_vec())
    };
    let mut tensors: Vec<_> = files.names().map(tensor).collect();
    let (embedding, mut bytes) = tensor("model.embed_tokens.weight");
    change(&mut bytes);
    tensors.push((TensorMeta { name: "lm_head.weight".into(), ..embedding }, bytes));
    let dir = tempfile::tempdir().unwrap();
    let metas: Vec<TensorMeta> = tensors.iter().map(|(meta, _)| meta.clone()).collect();
    save(dir.path(), &metas, u64::MAX, |meta, out| {
        out.write_all(&tensors.iter().find(|(m, _)| m == meta).unwrap().1)
    })
    .unwrap();
    fs::copy(released.join("config.json"), dir.path().join("config.json")).unwrap();
    dir
}

fn logits_and_warnings(dir: &Path) -> (Vec<f64>, Vec<String>) {
    let cpu = Reference::<f64>::new();
    let (model, warnings) = Model::load(cpu, dir, &LoadOptions::default()).unwrap();
    let mut cache = model.cache(64).unwrap();
    let sequence = cache.new_sequence();
    let feed = Feed { sequence, tokens: &[1, 2, 3] };
    let hidden = model.forward(&mut cache, &[feed], Form::Auto, &mut ()).unwrap();
    (cpu.download(&model.logits(&hidden).unwrap()).unwrap(), warnings)
}

#[test]
fn a_head_that_repeats_the_embedding_is_accepted() {
    let dir = with_a_head(|_| {});
    let (_, warnings) = logits_and_warnings(dir.path());
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn another_head_is_not_used_and_said_so() {
    let [same, other] = [with_a_head(|_| {}), with_a_head(|bytes| bytes[0] ^= 1)];
    let (want, _) = logits_and_warnings(same.path());
    let (got, warnings) = logits_and_warnings(other.path());
    assert!(got == want);
    let wanted = "lm_head.weight is not used: the config ties the head to \
                  model.embed_tokens.weight, which differs from it";
    assert_eq!(warnings, [wanted]);
}
