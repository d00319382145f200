//! Checkpoints are read as they were written: whole, sharded, FP8, mapped or not.

#![expect(clippy::unwrap_used, reason = "a failure in a test is a panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use latent_kernels::{Dtype, TensorSpec, Weight};
use latent_model::checkpoint::random::{self, RandomDtype};
use latent_model::checkpoint::{
    Checkpoint, CheckpointError, FileDtype, OpenOptions, TensorMeta, VerifyOptions, Warning, save,
    save_file,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const UP: &str = "model.layers.0.mlp.up_proj.weight";
const NORM: &str = "model.norm.weight";

fn open(dir: &Path) -> Checkpoint {
    Checkpoint::open(dir, OpenOptions::default()).unwrap()
}

/// Saves tensors with the bytes that come with them.
fn save_bytes(
    dir: &Path,
    tensors: &[(TensorMeta, Vec<u8>)],
    max_shard_bytes: u64,
) -> Result<(), CheckpointError> {
    let metas: Vec<TensorMeta> = tensors.iter().map(|(meta, _)| meta.clone()).collect();
    save(dir, &metas, max_shard_bytes, |meta, out| {
        out.write_all(&tensors.iter().find(|(m, _)| m == meta).unwrap().1)
    })
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn specs() -> Vec<TensorSpec> {
    vec![
        TensorSpec::new("model.embed_tokens.weight", &[11, 200]),
        TensorSpec::new(UP, &[300, 200]),
        TensorSpec::new("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", &[130, 200]),
        TensorSpec::new("model.layers.0.mlp.gate.e_score_correction_bias", &[8]),
        TensorSpec::new("model.layers.0.eh_proj.weight", &[4, 8]),
        TensorSpec::new(NORM, &[200]),
    ]
}

fn decoded(checkpoint: &Checkpoint) -> BTreeMap<String, Vec<f64>> {
    let value = |s: &TensorSpec| checkpoint.weight(&s.name, &s.shape).unwrap().decode();
    specs().iter().map(|s| (s.name.clone(), value(s))).collect()
}

#[test]
fn mapped_and_read_files_hold_the_same_weights() {
    let dir = tempfile::tempdir().unwrap();
    random::write(dir.path(), &specs(), 1, RandomDtype::Bf16, 40_000).unwrap();
    let read = OpenOptions { mmap: false, ..OpenOptions::default() };
    let read = Checkpoint::open(dir.path(), read).unwrap();
    assert_eq!(decoded(&open(dir.path())), decoded(&read));
}

#[test]
fn weights_outlive_the_checkpoint_and_share_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    random::write(dir.path(), &specs(), 1, RandomDtype::Bf16, u64::MAX).unwrap();
    let checkpoint = open(dir.path());
    let (a, b) =
        (checkpoint.weight(UP, &[300, 200]).unwrap(), checkpoint.weight(UP, &[300, 200]).unwrap());
    assert_eq!(a.bytes().as_slice().as_ptr(), b.bytes().as_slice().as_ptr());
    drop(checkpoint);
    assert_eq!(a.decode::<f32>(), b.decode::<f32>());
}

#[test]
fn a_vector_becomes_one_row() {
    let dir = tempfile::tempdir().unwrap();
    random::write(dir.path(), &specs(), 1, RandomDtype::F32, u64::MAX).unwrap();
    let norm = open(dir.path()).weight(NORM, &[200]).unwrap();
    assert_eq!((norm.rows(), norm.cols()), (1, 200));
}

#[test]
fn shards_are_listed_by_an_index_of_the_published_form() {
    let dir = tempfile::tempdir().unwrap();
    random::write(dir.path(), &specs(), 1, RandomDtype::Bf16, 60_000).unwrap();
    let names = names_in(dir.path());
    assert_eq!(
        names,
        [
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
            "model-00003-of-00003.safetensors",
            "model.safetensors.index.json"
        ]
    );
    let index = fs::read_to_string(dir.path().join(&names[3])).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let checkpoint = open(dir.path());
    assert_eq!(checkpoint.warnings(), []);
    let bytes: usize = checkpoint.names().map(|n| checkpoint.info(n).unwrap().bytes).sum();
    assert_eq!(index["metadata"]["total_size"], bytes);
    for name in checkpoint.names() {
        let file = checkpoint.info(name).unwrap().file.file_name().unwrap();
        assert_eq!(index["weight_map"][name], file.to_str().unwrap(), "{name}");
    }
}

#[test]
fn sharding_changes_no_byte() {
    let (one, many) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dtype = RandomDtype::Fp8 { block: [128, 128] };
    random::write(one.path(), &specs(), 5, dtype, u64::MAX).unwrap();
    random::write(many.path(), &specs(), 5, dtype, 0).unwrap();
    let (one, many) = (open(one.path()), open(many.path()));
    assert_eq!(one.summary().files, 1);
    assert_eq!(many.summary().files, one.names().count());
    assert_eq!(one.summary().dtypes, many.summary().dtypes);
    for name in one.names() {
        let (a, b) = (one.bytes(name).unwrap(), many.bytes(name).unwrap());
        assert_eq!(a.as_slice(), b.as_slice(), "{name}");
    }
}

#[test]
fn files_can_be_read_by_the_crate_of_the_format() {
    let dir = tempfile::tempdir().unwrap();
    let dtype = RandomDtype::Fp8 { block: [128, 128] };
    random::write(dir.path(), &specs(), 2, dtype, u64::MAX).unwrap();
    let bytes = fs::read(dir.path().join("model.safetensors")).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ours = open(dir.path());
    assert_eq!(theirs.len(), ours.names().count());
    for (name, tensor) in theirs.iter() {
        let info = ours.info(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (info.dtype, info.shape), "{name}");
        assert_eq!(tensor.data(), ours.bytes(name).unwrap().as_slice(), "{name}");
    }
}

#[test]
fn data_is_aligned_whatever_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let tensors = [("a", FileDtype::U8), ("bb", FileDtype::BF16), ("c", FileDtype::F64)].map(
        |(name, dtype)| (TensorMeta::new(name, dtype, &[3]), vec![0; 3 * dtype.bitsize() / 8]),
    );
    save_bytes(dir.path(), &tensors, u64::MAX).unwrap();
    let bytes = fs::read(dir.path().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, tensor) in file.iter() {
        let offset = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(offset % (tensor.dtype().bitsize() / 8), 0, "{name}");
    }
}

#[test]
fn fp8_weights_come_with_the_scales_of_their_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let values: Vec<f32> = (0_u8..35).map(|i| f32::from(i) * 0.37 - 5.0).collect();
    let weight = Weight::quantize_e4m3([5, 7], &values, [2, 3]).unwrap();
    let scale = weight.scale().unwrap();
    let tensors = [
        (TensorMeta::new(UP, FileDtype::F8_E4M3, &[5, 7]), weight.bytes().as_slice().to_vec()),
        (
            TensorMeta::new(format!("{UP}_scale_inv"), FileDtype::F32, &[3, 3]),
            Dtype::F32.encode(&scale.values),
        ),
    ];
    save_bytes(dir.path(), &tensors, 1).unwrap();
    let options = OpenOptions { block: [2, 3], ..OpenOptions::default() };
    let checkpoint = Checkpoint::open(dir.path(), options).unwrap();
    let loaded = checkpoint.weight(UP, &[5, 7]).unwrap();
    assert_eq!(loaded.scale(), Some(scale));
    assert_eq!(loaded.decode::<f64>(), weight.decode::<f64>());
    checkpoint.verify(&[TensorSpec::new(UP, &[5, 7])], &VerifyOptions::default()).unwrap();
}

#[test]
fn what_is_wanted_and_published_passes_verification() {
    let dir = tempfile::tempdir().unwrap();
    let mut saved = specs();
    saved.push(TensorSpec::new("model.layers.0.self_attn.rotary_emb.inv_freq", &[32]));
    let dtype = RandomDtype::Fp8 { block: [128, 128] };
    random::write(dir.path(), &saved, 1, dtype, 50_000).unwrap();
    let checkpoint = open(dir.path());
    checkpoint.verify(&specs(), &VerifyOptions::default()).unwrap();
    checkpoint.check_weights().unwrap();

    let fewer = &specs()[..5];
    checkpoint.verify(fewer, &VerifyOptions::default()).unwrap_err();
    let ignore_prefixes = vec!["model.norm.".into()];
    checkpoint.verify(fewer, &VerifyOptions { allow_extra: false, ignore_prefixes }).unwrap();
    let allow_extra = VerifyOptions { allow_extra: true, ..VerifyOptions::default() };
    checkpoint.verify(fewer, &allow_extra).unwrap();
}

#[test]
fn a_whole_file_is_read_before_an_index_with_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    random::write(dir.path(), &specs(), 1, RandomDtype::F32, u64::MAX).unwrap();
    fs::write(dir.path().join("model.safetensors.index.json"), "not read").unwrap();
    assert_eq!(open(dir.path()).warnings(), [Warning::TwoLayouts]);
}

#[test]
fn summaries_count_files_bytes_and_types() {
    let dir = tempfile::tempdir().unwrap();
    let dtype = RandomDtype::Fp8 { block: [128, 128] };
    random::write(dir.path(), &specs(), 1, dtype, 60_000).unwrap();
    let summary = open(dir.path()).summary();
    let on_disk: u64 = names_in(dir.path())
        .iter()
        .filter(|n| n.ends_with(".safetensors"))
        .map(|n| fs::metadata(dir.path().join(n)).unwrap().len())
        .sum();
    assert_eq!(summary.disk_bytes as u64, on_disk);
    let fp8 = summary.dtypes["F8_E4M3"];
    assert_eq!((fp8.tensors, fp8.elements, fp8.bytes), (2, 430 * 200, 430 * 200));
    let bf16 = summary.dtypes["BF16"];
    assert_eq!((bf16.tensors, bf16.elements), (3, 11 * 200 + 4 * 8 + 200));
    let f32 = summary.dtypes["F32"];
    assert_eq!((f32.tensors, f32.elements, f32.bytes), (3, 6 + 4 + 8, 72));
}

#[test]
fn random_values_follow_their_seed_and_their_spread() {
    let write = |seed| {
        let dir = tempfile::tempdir().unwrap();
        let dtype = RandomDtype::Fp8 { block: [64, 48] };
        random::write(dir.path(), &specs(), seed, dtype, u64::MAX).unwrap();
        let options = OpenOptions { block: [64, 48], ..OpenOptions::default() };
        decoded(&Checkpoint::open(dir.path(), options).unwrap())
    };
    let values = write(3);
    assert_eq!(values, write(3));
    assert_ne!(values, write(4));
    for (name, mean, spread) in [
        (UP, 0.0, 200_f64.powf(-0.5)),
        (NORM, 1.0, 0.2),
        ("model.embed_tokens.weight", 0.0, 0.5),
        ("model.layers.0.mlp.gate.e_score_correction_bias", 0.0, 0.15),
    ] {
        let v = &values[name];
        let n = v.len() as f64;
        let found_mean = v.iter().sum::<f64>() / n;
        let found = (v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        assert!((found_mean - mean).abs() < 4.0 * spread / n.sqrt(), "{name}: mean {found_mean}");
        assert!((found / spread - 1.0).abs() < 4.0 / n.sqrt(), "{name}: spread {found}");
    }
    // Scales leave room for the tails: of 60,000 normal values one is beyond 3.8 spreads.
    let largest = values[UP].iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    assert!(largest > 3.8 * 200_f64.powf(-0.5), "{largest}");
}

#[test]
fn saving_over_a_checkpoint_is_refused_and_leaves_it_as_it_is() {
    for max in [40_000, u64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        random::write(dir.path(), &specs(), 1, RandomDtype::F32, max).unwrap();
        let (names, before) = (names_in(dir.path()), decoded(&open(dir.path())));
        let error = random::write(dir.path(), &specs(), 2, RandomDtype::F32, u64::MAX);
        assert!(matches!(error, Err(CheckpointError::Exists { .. })), "{error:?}");
        assert_eq!(names_in(dir.path()), names);
        assert_eq!(decoded(&open(dir.path())), before);
    }
}

#[test]
fn failed_saves_leave_nothing_behind() {
    let metas = ["a", "b", "c"].map(|n| TensorMeta::new(n, FileDtype::F32, &[4]));
    for max in [1, u64::MAX] {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [0, 15, 17, 400] {
            let error = save(dir.path(), &metas, max, |meta, out| {
                out.write_all(&vec![7; if meta.name == "c" { bytes } else { 16 }])
            });
            let error = error.unwrap_err().to_string();
            assert_eq!(error, format!("c: {bytes} bytes written, F32 [4] wants 16"));
            assert_eq!(names_in(dir.path()), [""; 0]);
        }
        let full = save(dir.path(), &metas, max, |meta, out| {
            if meta.name == "b" {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            out.write_all(&[0; 16])
        });
        assert!(matches!(full, Err(CheckpointError::Io { .. })), "{full:?}");
        assert_eq!(names_in(dir.path()), [""; 0]);
    }
}

#[test]
fn saving_one_file_replaces_it_only_when_complete() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.safetensors");
    let metas = [TensorMeta::new("logits", FileDtype::U8, &[2])];
    save_file(&path, &metas, |_, out| out.write_all(&[1, 2])).unwrap();
    save_file(&path, &metas, |_, out| out.write_all(&[3])).unwrap_err();
    let logits = || {
        let file = Checkpoint::open_file(&path, OpenOptions { mmap: false, ..Default::default() });
        file.unwrap().bytes("logits").unwrap().as_slice().to_vec()
    };
    assert_eq!(logits(), [1, 2]);
    save_file(&path, &metas, |_, out| out.write_all(&[3, 4])).unwrap();
    assert_eq!(logits(), [3, 4]);
    assert_eq!(names_in(dir.path()), ["out.safetensors"]);
}

#[test]
fn names_that_cannot_be_saved_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (names, wanted) in [
        (["a", "a"], "a: cannot be saved under this name: it is given twice"),
        (
            ["a", "__metadata__"],
            "__metadata__: cannot be saved under this name: the format keeps it for itself",
        ),
    ] {
        let metas = names.map(|n| TensorMeta::new(n, FileDtype::U8, &[0]));
        let error = save(dir.path(), &metas, 1, |_, _| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
    let metas = [TensorMeta::new("a", FileDtype::F64, &[usize::MAX, 2])];
    let error = save(dir.path(), &metas, 1, |_, _| Ok(())).unwrap_err();
    assert!(matches!(error, CheckpointError::Uncountable { .. }), "{error}");
}

fn any_tensors() -> impl Strategy<Value = Vec<(TensorMeta, Vec<u8>)>> {
    use FileDtype::{BF16, BOOL, C64, F8_E4M3, F16, F32, F64, I64, U8, U16};
    let dtype = prop::sample::select(vec![BOOL, U8, F8_E4M3, U16, F16, BF16, F32, C64, F64, I64]);
    let tensor = (dtype, prop::collection::vec(0_usize..5, 0..4), any::<u8>());
    prop::collection::btree_map("\\PC{0,6}", tensor, 0..8).prop_map(|tensors| {
        tensors
            .into_iter()
            .map(|(name, (dtype, shape, first))| {
                let length = shape.iter().product::<usize>() * dtype.bitsize() / 8;
                let bytes = (0..251).map(|i| first.wrapping_add(i)).cycle().take(length).collect();
                (TensorMeta { name, dtype, shape }, bytes)
            })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_saved_is_what_is_loaded(
        tensors in any_tensors(),
        max in prop::sample::select(vec![0, 1, 30, 100, u64::MAX]),
        mmap: bool,
    ) {
        let dir = tempfile::tempdir().unwrap();
        save_bytes(dir.path(), &tensors, max).unwrap();
        let options = OpenOptions { mmap, ..OpenOptions::default() };
        let checkpoint = Checkpoint::open(dir.path(), options).unwrap();
        prop_assert_eq!(checkpoint.warnings(), []);
        prop_assert_eq!(checkpoint.names().count(), tensors.len());
        for (meta, bytes) in &tensors {
            let info = checkpoint.info(&meta.name).unwrap();
            prop_assert_eq!((info.dtype, info.shape), (meta.dtype, &meta.shape[..]));
            let loaded = checkpoint.bytes(&meta.name).unwrap();
            prop_assert_eq!(loaded.as_slice(), &bytes[..]);
        }
    }
}
