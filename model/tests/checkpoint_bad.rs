//! Every way in which a checkpoint can be wrong gets an error that names what is wrong.

#![expect(clippy::unwrap_used, reason = "a failure in a test is a panic")]

use std::fs;
use std::path::Path;

use latent_kernels::TensorSpec;
use latent_model::checkpoint::{
    Checkpoint, CheckpointError, FileDtype, HeaderProblem, OpenOptions, TensorMeta, TensorProblem,
    VerifyOptions, Warning, save,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const INDEX: &str = "model.safetensors.index.json";

/// A file with this header and this many zero bytes of data.
fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data_bytes]].concat()
}

fn tensor(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

fn parse(bytes: Vec<u8>) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::from_bytes(Path::new("m.safetensors"), bytes, OpenOptions::default())
}

fn header_problem(bytes: Vec<u8>) -> HeaderProblem {
    match parse(bytes) {
        Err(CheckpointError::Header { file, problem }) => {
            assert_eq!(file, Path::new("m.safetensors"));
            problem
        }
        other => panic!("want a header error, got {other:?}"),
    }
}

fn json_problem(header: &str, data_bytes: usize) -> String {
    match header_problem(file(header, data_bytes)) {
        HeaderProblem::Json { detail } => detail,
        other => panic!("want a JSON error, got {other:?}"),
    }
}

fn tensor_problem(entries: &[String], data_bytes: usize) -> (String, TensorProblem) {
    match parse(file(&format!("{{{}}}", entries.join(",")), data_bytes)) {
        Err(CheckpointError::Tensor { tensor, problem, .. }) => (tensor, problem),
        other => panic!("want a tensor error, got {other:?}"),
    }
}

/// A folder of two shards, `a` in the first and `b` in the second.
fn two_shards() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    save_zeros(dir.path(), &["a", "b"], 1);
    dir
}

fn save_zeros(dir: &Path, names: &[&str], max_shard_bytes: u64) {
    let metas: Vec<TensorMeta> =
        names.iter().map(|n| TensorMeta::new(*n, FileDtype::F32, &[2])).collect();
    save(dir, &metas, max_shard_bytes, |_, out| out.write_all(&[0; 8])).unwrap();
}

fn one_tensor(dtype: FileDtype, shape: &[usize], bytes: &[u8]) -> Checkpoint {
    let dir = tempfile::tempdir().unwrap();
    let metas = [TensorMeta::new("x.weight", dtype, shape)];
    save(dir.path(), &metas, u64::MAX, |_, out| out.write_all(bytes)).unwrap();
    Checkpoint::open(dir.path(), OpenOptions::default()).unwrap()
}

fn open(dir: &Path) -> Result<Checkpoint, CheckpointError> {
    let mapped = Checkpoint::open(dir, OpenOptions::default());
    let read = Checkpoint::open(dir, OpenOptions { mmap: false, ..OpenOptions::default() });
    match (&mapped, &read) {
        (Err(a), Err(b)) => assert_eq!(a.to_string(), b.to_string()),
        (a, b) => assert!(a.is_ok() && b.is_ok(), "mapped {a:?}, read {b:?}"),
    }
    mapped
}

fn message(result: Result<Checkpoint, CheckpointError>) -> String {
    result.unwrap_err().to_string()
}

fn write_index(dir: &Path, weight_map: &str) {
    fs::write(dir.join(INDEX), format!(r#"{{"metadata":{{}},"weight_map":{weight_map}}}"#))
        .unwrap();
}

#[test]
fn files_without_room_for_a_length_are_too_short() {
    for found in 0..8 {
        assert_eq!(header_problem(vec![0; found]), HeaderProblem::TooShort { found });
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("model.safetensors"), "").unwrap();
    let message = message(open(dir.path()));
    assert!(message.ends_with("file too short for header: 0 bytes, want 8 or more"), "{message}");
    assert!(message.starts_with(dir.path().to_str().unwrap()), "{message}");
}

#[test]
fn headers_above_the_limit_are_refused_before_anything_is_allocated() {
    let limit = 100_000_000;
    for found in [limit + 1, u64::MAX] {
        let bytes = [&found.to_le_bytes()[..], b"{}"].concat();
        assert_eq!(header_problem(bytes), HeaderProblem::TooLarge { found, limit });
    }
}

#[test]
fn headers_longer_than_the_file_are_refused() {
    for found in [3_u64, 100_000_000] {
        let bytes = [&found.to_le_bytes()[..], b"{}"].concat();
        assert_eq!(header_problem(bytes), HeaderProblem::BeyondFile { found, left: 2 });
    }
}

#[test]
fn headers_that_are_not_the_format_s_json_are_refused() {
    let mut bytes = file("{\"ab\":1}", 0);
    bytes[11] = 0xff;
    assert_eq!(header_problem(bytes), HeaderProblem::NotUtf8 { at: 3 });
    for broken in ["{", "{\"a\"}", "{}{}", "{} x", r#"{"a":1}"#, r#"{"__metadata__":{"a":1}}"#] {
        let problem = header_problem(file(broken, 0));
        assert!(matches!(problem, HeaderProblem::Json { .. }), "{broken}: {problem:?}");
    }
    assert_eq!(
        header_problem(file(&"[".repeat(200_000), 0)),
        HeaderProblem::NoBrace { found: Some(b'[') }
    );
    for deep in ["[", "{\"a\":"] {
        let deep = deep.repeat(200_000);
        json_problem(&format!("{{\"a\":{deep}"), 0);
        json_problem(&format!(r#"{{"a":{{"dtype":"F32","extra":{deep}"#), 0);
    }
}

#[test]
fn headers_begin_with_a_brace() {
    for header in [" {}", "\n{}", "\u{feff}{}"] {
        let found = Some(header.as_bytes()[0]);
        assert_eq!(header_problem(file(header, 0)), HeaderProblem::NoBrace { found });
    }
    assert_eq!(header_problem(file("", 0)), HeaderProblem::NoBrace { found: None });
    parse(file("{}   ", 0)).unwrap();
}

#[test]
fn names_that_come_twice_are_refused() {
    let a = tensor("a", "U8", "[1]", "[0,1]");
    let detail = json_problem(&format!("{{{a},{a}}}"), 1);
    assert!(detail.starts_with("a comes twice"), "{detail}");
    // The same name, written with an escape.
    let escaped = a.replacen("\"a\"", "\"\\u0061\"", 1);
    let detail = json_problem(&format!("{{{a},{escaped}}}"), 1);
    assert!(detail.starts_with("a comes twice"), "{detail}");
    let detail = json_problem(r#"{"__metadata__":{},"__metadata__":{}}"#, 0);
    assert!(detail.starts_with("__metadata__ comes twice"), "{detail}");
    let detail = json_problem(r#"{"a":{"dtype":"U8","dtype":"U8"}}"#, 0);
    assert!(detail.contains("tensor a: duplicate field `dtype`"), "{detail}");
}

#[test]
fn tensors_fill_the_data_without_overlap_hole_or_rest() {
    let pair = |a: &str, b: &str| [tensor("a", "U8", "[2]", a), tensor("b", "U8", "[2]", b)];
    let cases = [
        (pair("[0,2]", "[1,3]"), 3, "b", "begins at 1, inside of a, which ends at 2"),
        (pair("[0,2]", "[0,2]"), 2, "b", "begins at 0, inside of a, which ends at 2"),
        (pair("[0,2]", "[3,5]"), 5, "b", "begins at 3, the tensor before it ends at 2: a hole"),
        (pair("[1,3]", "[3,5]"), 5, "a", "begins at 1, the tensor before it ends at 0: a hole"),
        (pair("[2,0]", "[0,2]"), 2, "a", "begins at 2, ends at 0"),
        (pair("[0,2]", "[2,4]"), 3, "b", "ends at byte 4 of the data, the file has 3: truncated"),
        (pair("[0,2]", "[2,3]"), 3, "b", "1 bytes, U8 [2] wants 2"),
        (
            pair("[0,2]", "[2,18446744073709551615]"),
            4,
            "b",
            "18446744073709551613 bytes, U8 [2] wants 2",
        ),
    ];
    for (entries, data_bytes, name, wanted) in cases {
        let (found_name, problem) = tensor_problem(&entries, data_bytes);
        assert_eq!((found_name.as_str(), problem.to_string().as_str()), (name, wanted));
    }
    let header = format!("{{{}}}", pair("[0,2]", "[2,4]").join(","));
    assert_eq!(header_problem(file(&header, 5)), HeaderProblem::Trailing { found: 5, wanted: 4 });
    assert_eq!(header_problem(file("{}", 1)), HeaderProblem::Trailing { found: 1, wanted: 0 });
    parse(file(&header, 4)).unwrap();
}

#[test]
fn shapes_have_as_many_bytes_as_their_offsets() {
    for (dtype, shape, bytes) in [
        ("F32", "[2,3]", 23),
        ("F32", "[]", 0),
        ("F32", "[0]", 4),
        ("F4", "[3]", 1),
        ("U8", "[18446744073709551615,2]", 0),
        ("F32", "[4611686018427387904]", 0),
        ("U8", "[18446744073709551615,18446744073709551615,0]", 0),
    ] {
        let entry = tensor("a", dtype, shape, &format!("[0,{bytes}]"));
        let (name, problem) = tensor_problem(&[entry], bytes);
        assert_eq!(name, "a");
        assert!(matches!(problem, TensorProblem::Length { found, .. } if found == bytes));
    }
    for (dtype, shape, offsets, wanted) in [
        ("F32", "[-1]", "[0,4]", "tensor a: invalid value: integer `-1`"),
        ("F32", "[1.5]", "[0,4]", "tensor a: invalid type: floating point"),
        ("F33", "[1]", "[0,4]", "tensor a: unknown variant `F33`"),
        ("F32", "[1]", "[0]", "tensor a: invalid length 1"),
        ("F32", "[1]", "[0,4,8]", "tensor a: "),
        ("F32", "[18446744073709551616]", "[0,4]", "tensor a: "),
    ] {
        let detail = json_problem(&format!("{{{}}}", tensor("a", dtype, shape, offsets)), 4);
        assert!(detail.starts_with(wanted) && detail.contains("line 1"), "{detail}");
    }
}

#[test]
fn wrong_shapes_are_named_and_transposes_are_hinted_at() {
    let checkpoint = one_tensor(FileDtype::U8, &[2, 3], &[0; 6]);
    let error = |wanted: &[usize]| checkpoint.weight("x.weight", wanted).unwrap_err().to_string();
    assert_eq!(error(&[2, 4]), "x.weight: shape [2, 3], the config wants [2, 4]");
    assert_eq!(error(&[6]), "x.weight: shape [2, 3], the config wants [6]");
    assert_eq!(
        error(&[3, 2]),
        "x.weight: shape [2, 3], the config wants [3, 2] (it is the transpose)"
    );
    assert_eq!(
        error(&[1, 2, 3]),
        "x.weight: asked for with shape [1, 2, 3], a weight has one or two axes"
    );
}

#[test]
fn types_that_are_no_weights_are_refused_when_taken() {
    for dtype in [FileDtype::I64, FileDtype::C64, FileDtype::BOOL, FileDtype::F8_E5M2] {
        let checkpoint = one_tensor(dtype, &[1], &vec![0; dtype.bitsize() / 8]);
        let error = checkpoint.weight("x.weight", &[1]).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::Dtype { tensor, found, .. }
                if tensor == "x.weight" && *found == dtype),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains(&format!("model.safetensors: tensor x.weight: dtype {dtype}"))
        );
        assert_eq!(checkpoint.info("x.weight").unwrap().dtype, dtype);
        checkpoint.check_weights().unwrap();
    }
}

#[test]
fn fp8_without_fitting_scales_is_refused() {
    let checkpoint = one_tensor(FileDtype::F8_E4M3, &[2, 3], &[0; 6]);
    let error = checkpoint.weight("x.weight", &[2, 3]).unwrap_err().to_string();
    assert!(
        error.ends_with("tensor x.weight: F8_E4M3 without its scales, want x.weight_scale_inv"),
        "{error}"
    );
    for (dtype, shape, bytes) in
        [(FileDtype::F32, &[2, 1][..], 8), (FileDtype::F32, &[1], 4), (FileDtype::BF16, &[1, 1], 2)]
    {
        let dir = tempfile::tempdir().unwrap();
        let metas = [
            TensorMeta::new("x.weight", FileDtype::F8_E4M3, &[2, 3]),
            TensorMeta::new("x.weight_scale_inv", dtype, shape),
        ];
        save(dir.path(), &metas, u64::MAX, |meta, out| {
            out.write_all(&vec![0; if meta.name == "x.weight" { 6 } else { bytes }])
        })
        .unwrap();
        let error = open(dir.path()).unwrap().weight("x.weight", &[2, 3]).unwrap_err().to_string();
        let wanted = format!(
            "tensor x.weight_scale_inv: {dtype} {shape:?}, want F32 [1, 1] for blocks of [128, 128]"
        );
        assert!(error.ends_with(&wanted), "{error}");
    }
}

#[test]
fn missing_and_unexpected_tensors_are_all_listed() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..12).map(|i| format!("extra.{i:02}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.extend(["b", "b_scale_inv"]);
    save_zeros(dir.path(), &names, u64::MAX);
    let checkpoint = open(dir.path()).unwrap();
    assert_eq!(
        checkpoint.weight("a", &[2]).unwrap_err().to_string(),
        "a: missing from the checkpoint"
    );
    assert!(matches!(checkpoint.info("a"), Err(CheckpointError::Missing { .. })));

    let wanted = [TensorSpec::new("a", &[2]), TensorSpec::new("b", &[2])];
    let error = checkpoint.verify(&wanted, &VerifyOptions::default()).unwrap_err();
    let CheckpointError::Mismatch(mismatch) = &error else { panic!("{error}") };
    assert_eq!(mismatch.missing, ["a"]);
    // The scales of a weight that is not FP8 belong to nothing.
    assert_eq!(mismatch.unexpected.len(), 13);
    let message = error.to_string();
    assert!(message.contains("missing tensors (1): a\n"), "{message}");
    assert!(message.contains("unexpected tensors (13): b_scale_inv, extra.00, "), "{message}");
    assert!(message.ends_with("extra.08, ..."), "{message}");

    let wanted = [TensorSpec::new("b", &[3]), TensorSpec::new("extra.00", &[2, 1])];
    let allow_extra = VerifyOptions { allow_extra: true, ..VerifyOptions::default() };
    let message = checkpoint.verify(&wanted, &allow_extra).unwrap_err().to_string();
    assert!(message.contains("b: shape [2], the config wants [3]"), "{message}");
    assert!(message.contains("extra.00: shape [2], the config wants [2, 1]"), "{message}");
    assert!(message.contains("unusable tensors (2):\n  b: shape"), "{message}");

    let wanted: Vec<_> = names.iter().map(|name| TensorSpec::new(*name, &[4])).collect();
    let message = checkpoint.verify(&wanted, &allow_extra).unwrap_err().to_string();
    assert!(message.contains("unusable tensors (14):"), "{message}");
    assert_eq!(message.matches("the config wants [4]").count(), 10, "{message}");
    assert!(message.ends_with("\n  ..."), "{message}");
}

#[test]
fn weights_that_are_not_finite_are_found_in_every_type() {
    let cases: [(FileDtype, &[u8], &[u8]); 9] = [
        (
            FileDtype::F64,
            &[0, 0, 0, 0, 0, 0, 0xf0, 0x7f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xef, 0x7f],
        ),
        (FileDtype::F64, &[1, 0, 0, 0, 0, 0, 0xf0, 0xff], &[0; 8]),
        (FileDtype::F32, &[0, 0, 0x80, 0xff], &[0xff, 0xff, 0x7f, 0x7f]),
        (FileDtype::F32, &[0, 0, 0xc0, 0x7f], &[1, 0, 0, 0]),
        (FileDtype::F16, &[0, 0x7c], &[0xff, 0x7b]),
        (FileDtype::F16, &[1, 0xfc], &[0, 0x80]),
        (FileDtype::BF16, &[0x80, 0xff], &[0x7f, 0x7f]),
        (FileDtype::BF16, &[0xc0, 0x7f], &[0, 0x80]),
        (FileDtype::F8_E4M3, &[0xff], &[0x7e]),
    ];
    for (dtype, bad, good) in cases {
        one_tensor(dtype, &[2, 2], &good.repeat(4)).check_weights().unwrap();
        let bytes = [good, bad, good, bad].concat();
        let error = one_tensor(dtype, &[2, 2], &bytes).check_weights().unwrap_err();
        let CheckpointError::NotFinite { tensor, first, count, .. } = &error else {
            panic!("{dtype}: {error}")
        };
        assert_eq!((tensor.as_str(), *first, *count), ("x.weight", 1, 2), "{dtype}");
    }
}

#[test]
fn missing_shards_are_named() {
    let dir = two_shards();
    fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    let message = message(open(dir.path()));
    assert!(
        message.ends_with(
            "model.safetensors.index.json: shard model-00002-of-00002.safetensors missing"
        ),
        "{message}"
    );
}

#[test]
fn shard_paths_that_escape_are_refused_before_anything_is_opened() {
    let parent = two_shards();
    let dir = parent.path().join("model");
    fs::create_dir(&dir).unwrap();
    for shard in [
        "../model-00001-of-00002.safetensors",
        "a/../../model-00001-of-00002.safetensors",
        "./x.safetensors",
        "/etc/hostname",
        "C:\\\\x",
        "C:x",
        "..\\\\x",
        "x\\u0000y",
        "..",
        ".",
        "",
    ] {
        write_index(&dir, &format!(r#"{{"a":"absent.safetensors","b":"{shard}"}}"#));
        let error = open(&dir).unwrap_err();
        assert!(matches!(error, CheckpointError::ShardPath { .. }), "{shard}: {error}");
        assert!(error.to_string().contains("shard path escapes model directory"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn links_leave_the_folder_only_inside_of_a_hugging_face_cache() {
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().unwrap();
    let path = |p: &str| root.path().join(p);
    fs::create_dir_all(path("models--x/snapshots/abc")).unwrap();
    fs::create_dir_all(path("models--x/blobs/deeper")).unwrap();
    fs::create_dir_all(path("plain/inner")).unwrap();
    let bytes = file(&format!("{{{}}}", tensor("a", "U8", "[1]", "[0,1]")), 1);
    for blob in ["models--x/blobs/1f", "models--x/blobs/deeper/1f", "secret", "plain/inner/x"] {
        fs::write(path(blob), &bytes).unwrap();
    }
    let mut allowed = Vec::new();
    for (dir, target) in [
        ("models--x/snapshots/abc", "../../blobs/1f"),
        ("models--x/snapshots/abc", "../../blobs/deeper/1f"),
        ("models--x/snapshots/abc", "../../../secret"),
        ("plain", "../secret"),
        ("plain", "../models--x/blobs/1f"),
        ("plain", "inner/x"),
    ] {
        let link = path(dir).join("model.safetensors");
        symlink(target, &link).unwrap();
        match open(&path(dir)) {
            Ok(_) => allowed.push((dir, target)),
            Err(e) => assert!(matches!(e, CheckpointError::ShardPath { .. }), "{target}: {e}"),
        }
        // The same through an index.
        fs::rename(&link, path(dir).join("shard")).unwrap();
        write_index(&path(dir), r#"{"a":"shard"}"#);
        let listed = open(&path(dir)).is_ok();
        assert_eq!(listed, allowed.contains(&(dir, target)), "{target}");
        fs::remove_file(path(dir).join("shard")).unwrap();
        fs::remove_file(path(dir).join(INDEX)).unwrap();
    }
    assert_eq!(allowed, [("models--x/snapshots/abc", "../../blobs/1f"), ("plain", "inner/x")]);
}

#[test]
fn index_and_shards_agree() {
    let [one, two] = [1, 2].map(|i| format!("model-0000{i}-of-00002.safetensors"));
    let dir = two_shards();
    write_index(dir.path(), &format!(r#"{{"a":"{two}","b":"{one}"}}"#));
    let message_ = message(open(dir.path()));
    assert_eq!(message_, format!("a: not in {two}, where the index lists it; it is in {one}"));
    write_index(dir.path(), &format!(r#"{{"a":"{one}","c":"{two}"}}"#));
    let message_ = message(open(dir.path()));
    assert_eq!(message_, format!("c: not in {two}, where the index lists it; it is in no shard"));
    write_index(dir.path(), &format!(r#"{{"a":"{one}","a":"{two}"}}"#));
    let message_ = message(open(dir.path()));
    assert!(message_.contains("a comes twice"), "{message_}");

    fs::copy(dir.path().join(&one), dir.path().join(&two)).unwrap();
    write_index(dir.path(), &format!(r#"{{"a":"{one}","b":"{two}"}}"#));
    let message_ = message(open(dir.path()));
    assert_eq!(message_, format!("a: is in {one} and in {two}, want it once"));
}

#[test]
fn broken_indices_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let cases = ["", "{", "[]", "{}", r#"{"weight_map":[]}"#, r#"{"weight_map":{"a":1}}"#];
    for index in cases.map(str::to_owned).into_iter().chain(["[".repeat(200_000)]) {
        fs::write(dir.path().join(INDEX), index).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, CheckpointError::Index { .. }), "{error}");
        assert!(error.to_string().contains("line 1 column"), "{error}");
    }
    fs::write(dir.path().join(INDEX), [b'{', 0xff]).unwrap();
    assert!(message(open(dir.path())).ends_with("not UTF-8 at byte 1"));
}

#[test]
fn odd_indices_are_a_warning() {
    let dir = two_shards();
    assert_eq!(open(dir.path()).unwrap().warnings(), []);
    let index = fs::read_to_string(dir.path().join(INDEX)).unwrap();
    for (stated, wanted) in [("17", "17"), ("\"big\"", "\"big\""), ("-1", "-1")] {
        let wrong = index.replace("\"total_size\": 16", &format!("\"total_size\": {stated}"));
        assert_ne!(index, wrong);
        fs::write(dir.path().join(INDEX), wrong).unwrap();
        let wanted = [Warning::TotalSize { stated: wanted.into(), found: 16 }];
        assert_eq!(open(dir.path()).unwrap().warnings(), wanted);
    }
    let only_a = r#"{"a":"model-00001-of-00002.safetensors"}"#;
    let listed = dir.path().join("model-00001-of-00002.safetensors");
    let entries = [tensor("a", "U8", "[1]", "[0,1]"), tensor("b", "U8", "[1]", "[1,2]")];
    fs::write(listed, file(&format!("{{{}}}", entries.join(",")), 2)).unwrap();
    write_index(dir.path(), only_a);
    let wanted = [Warning::Unlisted { first: "b".into(), count: 1 }];
    assert_eq!(open(dir.path()).unwrap().warnings(), wanted);
}

#[test]
fn files_of_other_formats_are_named() {
    for (bytes, wanted) in [
        (
            &b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"[..],
            "Git LFS pointer; run git lfs pull",
        ),
        (b"PK\x03\x04\x00\x00\x08\x08\x00\x00", "zip archive"),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9", "pickle"),
        (b"GGUF\x03\x00\x00\x00\x00", "GGUF"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"PK\x03\x04", "zip archive"),
    ] {
        let error = parse(bytes.to_vec()).unwrap_err();
        assert!(matches!(error, CheckpointError::Foreign { .. }), "{error}");
        assert!(error.to_string().contains(wanted), "{error}");
    }
    // A header of 640 bytes begins as a pickle does, and is none.
    let mut header = String::from("{}");
    header.extend(std::iter::repeat_n(' ', 638));
    let bytes = file(&header, 0);
    assert_eq!(bytes[..2], [0x80, 2]);
    parse(bytes).unwrap();
}

#[cfg(unix)]
#[test]
fn what_is_not_a_regular_file_is_refused_without_waiting() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    assert!(matches!(open(dir.path()), Err(CheckpointError::NoWeights { .. })));

    fs::create_dir(&path).unwrap();
    assert!(message(open(dir.path())).contains("a directory, want a regular file"));
    fs::remove_dir(&path).unwrap();

    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let message_ = message(open(dir.path()));
    assert!(message_.ends_with("model.safetensors: a pipe, want a regular file"), "{message_}");
    fs::remove_file(&path).unwrap();

    for target in ["absent", "model.safetensors"] {
        symlink(target, &path).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(&error, CheckpointError::Io { path: p, .. } if *p == path), "{error}");
        fs::remove_file(&path).unwrap();
    }

    fs::create_dir(dir.path().join(INDEX)).unwrap();
    assert!(message(open(dir.path())).contains("a directory, want a regular file"));
}

#[test]
fn files_that_were_cut_are_refused_at_every_length() {
    let dir = tempfile::tempdir().unwrap();
    save_zeros(dir.path(), &["a", "b"], u64::MAX);
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        open(dir.path()).unwrap_err();
    }
    fs::write(&path, &bytes).unwrap();
    open(dir.path()).unwrap();
}

/// Uses everything that a checkpoint offers.
fn touch(checkpoint: &Checkpoint) {
    let names: Vec<&str> = checkpoint.names().collect();
    for name in names {
        let info = checkpoint.info(name).unwrap();
        assert_eq!(checkpoint.bytes(name).unwrap().as_slice().len(), info.bytes);
        if let Ok(weight) = checkpoint.weight(name, info.shape) {
            assert_eq!(weight.decode::<f32>().len(), weight.rows() * weight.cols());
        }
    }
    let _ = checkpoint.check_weights();
    let _ = checkpoint.verify(&[TensorSpec::new("a", &[2])], &VerifyOptions::default());
    assert_eq!(checkpoint.summary().files, 1);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("proptest-regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_files_never_panic(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let metas = [
            TensorMeta::new("a.weight", FileDtype::F8_E4M3, &[2, 3]),
            TensorMeta::new("a.weight_scale_inv", FileDtype::F32, &[1, 1]),
            TensorMeta::new("b", FileDtype::BF16, &[5]),
        ];
        save(dir.path(), &metas, u64::MAX, |meta, out| {
            out.write_all(&vec![1; usize::try_from(meta.bytes().unwrap()).unwrap()])
        }).unwrap();
        let mut bytes = fs::read(dir.path().join("model.safetensors")).unwrap();
        for (at, with) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= with;
        }
        bytes.truncate(keep.map_or(bytes.len(), |k| k.index(bytes.len())));
        if let Ok(checkpoint) = parse(bytes) {
            touch(&checkpoint);
        }
    }

    #[test]
    fn made_up_entries_never_panic(
        dtype in prop::sample::select(vec!["U8", "F4", "F32", "F8_E4M3", "F6_E2M3", "X"]),
        shape in prop::collection::vec(prop::sample::select(vec![0, 1, 3, 1 << 32, u64::MAX]), 0..4),
        begin in prop::sample::select(vec![0, 1, 3, 1 << 32, u64::MAX]),
        end in prop::sample::select(vec![0, 1, 3, 4, 12, u64::MAX]),
        data_bytes in 0_usize..16,
    ) {
        let entry = tensor("a", dtype, &format!("{shape:?}"), &format!("[{begin},{end}]"));
        if let Ok(checkpoint) = parse(file(&format!("{{{entry}}}"), data_bytes)) {
            touch(&checkpoint);
        }
    }
}
