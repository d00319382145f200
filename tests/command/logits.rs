//! `latent logits`: what the file holds, and that it is there as a whole or not at all.

use std::fs;

use safetensors::Dtype;

use crate::arrays::{Array, arrays, goldens};
use crate::folder::{Folder, case, expected, list, text};
use crate::program::{refuses_data, succeeds};

/// What the program writes for the prompt of a case.
fn written(name: &str, flags: &[&str]) -> Vec<u8> {
    let (model, tokens, to) = (case(name), list(&expected(name).input_ids), Folder::empty());
    let out = text(&to.join("x.safetensors"));
    let fixed = ["logits", "--model", &model, "--tokens", &tokens, "--out", &out];
    let printed = succeeds(&[&fixed[..], flags].concat());
    assert_eq!((printed.out.as_str(), printed.err.as_str()), ("", ""));
    fs::read(&out).unwrap()
}

#[track_caller]
fn close(got: &Array, want: &Array, within: f64, name: &str) {
    assert_eq!(got.values.len(), want.values.len(), "{name}");
    for (a, b) in got.values.iter().zip(&want.values) {
        assert!((a - b).abs() <= within * b.abs().max(1.0), "{name}: {a}, want {b}");
    }
}

const EXACT: [&str; 8] =
    ["--dtype", "f64", "--form", "absorbed", "--chunk", "5", "--generate", "16"];

#[test]
fn the_file_holds_the_documented_arrays_and_no_others() {
    let mut v3 = vec![
        ("logits".to_owned(), Dtype::F64, vec![24, 320]),
        ("greedy".into(), Dtype::I64, vec![16]),
        ("greedy_logits".into(), Dtype::F64, vec![16, 320]),
    ];
    v3.extend((0..5).map(|i| (format!("hidden.{i}"), Dtype::F64, vec![24, 80])));
    for i in 2..4 {
        v3.push((format!("moe_idx.{i}"), Dtype::I64, vec![24, 4]));
        v3.push((format!("moe_weight.{i}"), Dtype::F64, vec![24, 4]));
    }
    for i in 0..4 {
        v3.push((format!("cache_latent.{i}"), Dtype::F64, vec![24, 36]));
        v3.push((format!("cache_krope.{i}"), Dtype::F64, vec![24, 16]));
    }
    let mut llama = vec![("logits".to_owned(), Dtype::F32, vec![24, 144])];
    llama.extend((0..3).map(|i| (format!("hidden.{i}"), Dtype::F32, vec![24, 48])));
    for i in 0..2 {
        llama.push((format!("cache_k.{i}"), Dtype::F32, vec![24, 16]));
        llama.push((format!("cache_v.{i}"), Dtype::F32, vec![24, 16]));
    }
    for (name, flags, mut want) in [("v3", &EXACT[..], v3), ("llama", &[], llama)] {
        let found = arrays(&written(name, flags));
        let found: Vec<_> = found.into_iter().map(|(k, a)| (k, a.dtype, a.shape)).collect();
        want.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(found, want, "{name}");
    }
    let mtp = arrays(&written("v3_mtp", &[]));
    assert_eq!(mtp["mtp_logits"].shape, [24, 320]);
}

#[test]
fn the_numbers_are_those_of_the_conformance_pack() {
    let (found, want) = (arrays(&written("v3", &EXACT)), goldens("v3"));
    close(&found["logits"], &want["ref64.logits"], 1e-9, "logits");
    assert_eq!(found["greedy"].values, want["greedy.ids"].values);
    close(&found["greedy_logits"], &want["greedy.logits"], 1e-4, "greedy_logits");
    for i in 0..5 {
        let name = format!("hidden.{i}");
        close(&found[&name], &want[&format!("prefill.{name}")], 1e-4, &name);
    }
    for i in 0..4 {
        let name = format!("cache_latent.{i}");
        close(&found[&name], &want[&format!("prefill.{name}")], 1e-5, &name);
    }
    for i in 2..4 {
        let [name, weights] = [format!("moe_idx.{i}"), format!("moe_weight.{i}")];
        assert!(found[&name].values.chunks(4).all(|row| row.is_sorted()));
        assert_eq!(found[&name].values, want[&format!("prefill.{name}")].values, "{name}");
        close(&found[&weights], &want[&format!("prefill.{weights}")], 1e-5, &weights);
    }
    let (found, want) = (arrays(&written("v3_mtp", &["--dtype", "f64"])), goldens("v3_mtp"));
    close(&found["mtp_logits"], &want["mtp.ref64.logits"], 1e-4, "mtp_logits");
}

#[test]
fn forms_differ_by_rounding_and_chunks_by_nothing() {
    let run = |form, chunk| {
        written("v3", &["--dtype", "f64", "--form", form, "--chunk", chunk, "--generate", "4"])
    };
    let (expanded, absorbed) = (run("expanded", "24"), run("absorbed", "24"));
    for chunk in ["1", "5"] {
        assert_eq!(run("expanded", chunk), expanded, "expanded by {chunk}");
        assert_eq!(run("absorbed", chunk), absorbed, "absorbed by {chunk}");
    }
    let want = arrays(&expanded);
    for other in [absorbed, run("auto", "5")] {
        for (name, found) in arrays(&other) {
            close(&found, &want[&name], 1e-12, &name);
        }
    }
}

#[test]
fn read_files_give_the_bytes_of_mapped_ones() {
    assert_eq!(written("v3_fp8", &[]), written("v3_fp8", &["--no-mmap"]));
}

#[test]
fn a_file_that_is_there_is_replaced_and_no_other_is_left() {
    let folder = Folder::empty();
    let out = text(&folder.join("x.safetensors"));
    folder.write("x.safetensors", "old");
    succeeds(&["logits", "--model", &case("llama"), "--tokens", "1,2", "--out", &out]);
    assert_eq!(arrays(&fs::read(&out).unwrap())["logits"].shape, [2, 144]);
    assert_eq!(folder.files(), ["x.safetensors"]);
}

#[cfg(unix)]
#[test]
fn the_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::empty();
    folder.write("plain", "");
    let [out, svg] = ["x.safetensors", "x.svg"].map(|file| text(&folder.join(file)));
    succeeds(&["logits", "--model", &case("llama"), "--tokens", "1", "--out", &out]);
    succeeds(&["kv", "--model", "kimi-k2", "--svg", &svg]);
    let mode = |file| fs::metadata(folder.join(file)).unwrap().permissions().mode();
    assert_eq!([mode("x.safetensors"), mode("x.svg")], [mode("plain"); 2]);
}

#[test]
fn a_place_that_cannot_be_written_is_named_before_the_model_is_read() {
    let folder = Folder::empty();
    folder.write("file", "old");
    fs::create_dir(folder.join("folder")).unwrap();
    for place in ["folder", "absent/x.safetensors", "file/x.safetensors"] {
        let out = text(&folder.join(place));
        let error = refuses_data(&["logits", "--model", "absent", "--tokens", "1", "--out", &out]);
        assert!(error.starts_with(&format!("{out}: ")), "{error}");
    }
    assert_eq!(folder.files(), ["file", "folder"]);
    assert_eq!(fs::read(folder.join("file")).unwrap(), b"old");
    #[cfg(target_os = "linux")]
    {
        let args = ["logits", "--model", "absent", "--tokens", "1", "--out", "/proc/x"];
        assert!(refuses_data(&args).starts_with("/proc/x: "));
    }
}

#[cfg(unix)]
#[test]
fn a_pipe_is_not_replaced() {
    let folder = Folder::empty();
    let out = text(&folder.join("pipe"));
    assert!(std::process::Command::new("mkfifo").arg(&out).status().unwrap().success());
    let args = ["logits", "--model", &case("llama"), "--tokens", "1", "--out", &out];
    assert_eq!(refuses_data(&args), format!("{out}: is there and not a regular file"));
    assert_eq!(folder.files(), ["pipe"]);
}

#[test]
fn a_run_that_fails_leaves_the_file_as_it_was() {
    let folder = Folder::empty();
    folder.write("old.safetensors", "old");
    for file in ["old.safetensors", "new.safetensors"] {
        let out = text(&folder.join(file));
        let args = ["logits", "--model", &case("llama"), "--tokens", "1,144", "--out", &out];
        assert_eq!(refuses_data(&args), "token id 144 is not below vocab_size 144");
    }
    assert_eq!(folder.files(), ["old.safetensors"]);
    assert_eq!(fs::read(folder.join("old.safetensors")).unwrap(), b"old");
}
