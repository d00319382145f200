//! `latent grad`: losses and gradients of the conformance pack, and what is refused.

use std::collections::BTreeMap;
use std::fs;

use safetensors::Dtype;

use crate::arrays::{Array, arrays, goldens};
use crate::folder::{Folder, case, text};
use crate::program::{command, refuses_data, refuses_usage, succeeds};

/// The gradient cases, and the coefficient of each one's balance loss.
const CASES: [(&str, &str); 2] = [("v3_grad", "0"), ("v2_grad_aux", "0.1")];

/// The rows of a case as they are given.
fn rows(name: &str) -> String {
    let ids = &goldens(name)["input_ids"];
    let list = |row: &[f64]| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    ids.values.chunks(ids.shape[1]).map(list).collect::<Vec<_>>().join(";")
}

/// What the program writes for rows of tokens.
fn written(name: &str, rows: &str, flags: &[&str]) -> Vec<u8> {
    let (model, to) = (case(name), Folder::empty());
    let out = text(&to.join("x.safetensors"));
    let fixed = ["grad", "--model", &model, "--tokens", rows, "--out", &out];
    let printed = succeeds(&[&fixed[..], flags].concat());
    assert_eq!((printed.out.as_str(), printed.err.as_str()), ("", ""));
    assert_eq!(to.files(), ["x.safetensors"]);
    fs::read(&out).unwrap()
}

/// Holds each gradient to `within` of its tensor's largest.
#[track_caller]
fn close(found: &BTreeMap<String, Array>, want: &BTreeMap<String, Array>, within: f64) {
    let of_weights = |all: &BTreeMap<String, Array>| -> Vec<String> {
        all.keys().filter(|key| key.starts_with("grad.")).cloned().collect()
    };
    assert_eq!(of_weights(found), of_weights(want));
    for name in of_weights(want) {
        let (found, want) = (&found[&name], &want[&name]);
        assert_eq!(found.shape, want.shape, "{name}");
        let largest = want.values.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        for (a, b) in found.values.iter().zip(&want.values) {
            assert!((a - b).abs() <= within * largest, "{name}: {a}, want {b}");
        }
    }
}

#[track_caller]
fn near(found: &Array, want: f64, within: f64) {
    assert_eq!((found.dtype, &found.shape[..]), (Dtype::F64, &[1][..]));
    assert!((found.values[0] - want).abs() <= within, "{}, want {want}", found.values[0]);
}

#[test]
fn losses_and_gradients_are_those_of_the_conformance_pack() {
    for (name, alpha) in CASES {
        let want = goldens(name);
        for form in ["expanded", "absorbed"] {
            for more in [&[][..], &["--recompute"]] {
                let flags = ["--dtype", "f64", "--aux-loss-alpha", alpha, "--form", form];
                let found = arrays(&written(name, &rows(name), &[&flags[..], more].concat()));
                near(&found["loss.ce"], want["loss.ce"].values[0], 1e-10);
                near(&found["loss.aux"], want["loss.aux"].values[0], 1e-10);
                close(&found, &want, 1e-8);
                let all = found.iter().filter(|(name, _)| name.starts_with("grad."));
                assert!(all.clone().all(|(_, array)| array.dtype == Dtype::F64));
                assert_eq!(all.count() + 2, found.len(), "{name}: other keys");
            }
        }
    }
}

#[test]
fn f32_is_near_them_and_is_what_is_computed_in_where_nothing_is_said() {
    for (name, alpha) in CASES {
        let want = goldens(name);
        let found = written(name, &rows(name), &["--aux-loss-alpha", alpha, "--dtype", "f32"]);
        let default = ["--aux-loss-alpha", alpha, "--backend", "reference"];
        assert!(found == written(name, &rows(name), &default));
        let found = arrays(&found);
        near(&found["loss.ce"], want["loss.ce"].values[0], 1e-5);
        near(&found["loss.aux"], want["loss.aux"].values[0], 1e-5);
        close(&found, &want, 1e-4);
        let mut of_weights = found.iter().filter(|(name, _)| name.starts_with("grad."));
        assert!(of_weights.all(|(_, array)| array.dtype == Dtype::F32));
    }
}

/// Every prediction counts the same in the cross-entropy, and every row in the balance loss.
#[test]
fn rows_of_different_lengths_are_weighed_by_their_predictions() {
    let (a, b) = ("5,17,20,3,44,9", "8,9,90");
    let run = |rows: &str, alpha: &str| {
        let flags = ["--dtype", "f64", "--aux-loss-alpha", alpha];
        arrays(&written("v2_grad_aux", rows, &flags))
    };
    let [both, of_a, of_b] = [&format!("{a};{b}"), a, b].map(|rows| run(rows, "0.1"));
    let value = |all: &BTreeMap<String, Array>, name: &str| all[name].values[0];
    let ce = (5.0 * value(&of_a, "loss.ce") + 2.0 * value(&of_b, "loss.ce")) / 7.0;
    near(&both["loss.ce"], ce, 1e-12);
    let aux = f64::midpoint(value(&of_a, "loss.aux"), value(&of_b, "loss.aux"));
    near(&both["loss.aux"], aux, 1e-12);

    let [both, of_a, of_b] = [&format!("{a};{b}"), a, b].map(|rows| run(rows, "0"));
    let mut want = of_a;
    for (name, array) in &mut want {
        let more = &of_b[name].values;
        array.values.iter_mut().zip(more).for_each(|(a, b)| *a = (5.0 * *a + 2.0 * b) / 7.0);
    }
    close(&both, &want, 1e-12);

    // A row of one token predicts nothing.
    let [with, without] = [&format!("{a};7"), a].map(|rows| run(rows, "0"));
    assert_eq!(with["loss.ce"], without["loss.ce"]);
}

#[test]
fn what_took_no_part_has_a_gradient_of_zeros() {
    let found = arrays(&written("v3_mtp", "5,17,20", &[]));
    let layer = "grad.model.layers.3.";
    let of_layer: Vec<_> = found.iter().filter(|(name, _)| name.starts_with(layer)).collect();
    assert!(of_layer.len() > 20, "{} tensors", of_layer.len());
    assert!(of_layer.iter().all(|(_, array)| array.values.iter().all(|&v| v == 0.0)));
    let embedding = &found["grad.model.embed_tokens.weight"];
    let used = embedding.values.chunks(embedding.shape[1]).enumerate();
    let used: Vec<usize> =
        used.filter(|(_, row)| row.iter().any(|&v| v != 0.0)).map(|(id, _)| id).collect();
    assert_eq!(used, [5, 17], "the last token is predicted, but predicts nothing");
    assert!(found.keys().all(|name| !name.contains("e_score_correction_bias")));
}

#[test]
fn two_runs_give_the_same_bytes_on_any_number_of_threads() {
    let rows = rows("v3_grad");
    let want = written("v3_grad", &rows, &[]);
    assert!(written("v3_grad", &rows, &[]) == want);
    assert!(written("v3_grad", &rows, &["--recompute"]) == want);
    assert!(written("v3_grad", &rows, &["--form", "expanded", "--no-mmap"]) == want);
    let (model, to) = (case("v3_grad"), Folder::empty());
    for threads in ["1", "3"] {
        let out = text(&to.join(threads));
        let mut run = command(&["grad", "--model", &model, "--tokens", &rows, "--out", &out]);
        assert!(run.env("RAYON_NUM_THREADS", threads).status().unwrap().success());
        assert!(fs::read(&out).unwrap() == want, "{threads} threads");
    }
}

#[test]
fn rows_that_predict_nothing_and_settings_out_of_range_are_refused() {
    let (model, folder) = (case("v3_grad"), Folder::empty());
    let out = text(&folder.join("x.safetensors"));
    let fixed = ["grad", "--model", &model, "--out", &out];
    for (rows, wanted) in [
        ("1", "want a row of at least two tokens: one predicts the next"),
        ("1;2", "want a row of at least two tokens"),
        ("", "token id \"\", want a number"),
        ("1,2;", "token id \"\", want a number"),
        ("1,x", "token id \"x\", want a number"),
    ] {
        let error = refuses_usage(&[&fixed[..], &["--tokens", rows]].concat());
        assert!(error.contains(wanted), "{rows:?}: {error}");
    }
    for (flag, wanted) in [
        ("--aux-loss-alpha=-0.1", "want a finite number of at least 0"),
        ("--aux-loss-alpha=NaN", "want a finite number of at least 0"),
        ("--aux-loss-alpha=inf", "want a finite number of at least 0"),
        ("--aux-loss-alpha=much", "invalid float literal"),
        ("--chunk=1", "--chunk: gradients take each row as a whole"),
        ("--dtype=bf16", "gradients want --backend reference with --dtype f32 or f64"),
        ("--dtype=int8", "gradients want --backend reference with --dtype f32 or f64"),
        ("--backend=cpu", "gradients want --backend reference with --dtype f32 or f64"),
        #[cfg(not(feature = "gpu"))]
        ("--backend=gpu", "this build has none"),
        #[cfg(feature = "gpu")]
        ("--backend=gpu", "gradients want --backend reference with --dtype f32 or f64"),
    ] {
        let error = refuses_usage(&[&fixed[..], &["--tokens", "1,2", flag]].concat());
        assert!(error.contains(wanted), "{flag}: {error}");
    }
    assert_eq!(folder.files(), [""; 0]);
}

#[test]
fn a_run_that_fails_leaves_the_file_as_it_was() {
    let folder = Folder::empty();
    folder.write("old.safetensors", "old");
    for file in ["old.safetensors", "new.safetensors"] {
        let out = text(&folder.join(file));
        let vocab = goldens("v3_grad")["grad.model.embed_tokens.weight"].shape[0].to_string();
        let rows = format!("1,2;3,{vocab}");
        let args = ["grad", "--model", &case("v3_grad"), "--tokens", &rows, "--out", &out];
        let wanted = format!("token id {vocab} is not below vocab_size {vocab}");
        assert_eq!(refuses_data(&args), wanted);
    }
    assert_eq!(folder.files(), ["old.safetensors"]);
    assert_eq!(fs::read(folder.join("old.safetensors")).unwrap(), b"old");
}

#[test]
fn a_place_that_cannot_be_written_is_named_before_the_model_is_read() {
    let folder = Folder::empty();
    let out = text(&folder.join("absent/x.safetensors"));
    let error = refuses_data(&["grad", "--model", "absent", "--tokens", "1,2", "--out", &out]);
    assert!(error.starts_with(&format!("{out}: ")), "{error}");
    assert_eq!(folder.files(), [""; 0]);
}
