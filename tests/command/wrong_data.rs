//! Folders and files that are not what they should be: one line that says which and how.

use std::fs;

use crate::folder::{Folder, case, text};
use crate::program::{command, refuses_data, succeeds};

/// What both commands that run a model say of its folder.
#[track_caller]
fn refused(folder: &Folder, flags: &[&str]) -> String {
    let to = Folder::empty();
    let (dir, out) = (folder.dir(), text(&to.join("x.safetensors")));
    let model = ["--model", &dir, "--tokens", "1,2"];
    let error = refuses_data(&[&["generate"], &model[..], flags].concat());
    let logits = [&["logits"], &model[..], &["--out", &out], flags].concat();
    assert_eq!(refuses_data(&logits), error);
    assert_eq!(to.files(), [""; 0]);
    error
}

#[test]
fn an_absent_folder_is_named() {
    let error = refuses_data(&["generate", "--model", "/no/such/model", "--tokens", "1"]);
    assert!(error.starts_with("config.json not found in /no/such/model"), "{error}");
    let error = refuses_data(&["generate", "--model", "/no/such/model", "--prompt", "x"]);
    assert!(error.starts_with("config.json not found in /no/such/model"), "{error}");
}

#[test]
fn a_config_that_asks_for_something_else_is_named() {
    let folder = Folder::of("v3");
    folder.edit("config.json", |config| config["model_type"] = "deepseek_v4".into());
    let error = refused(&folder, &[]);
    let path = text(&folder.join("config.json"));
    assert!(error.starts_with(&format!("{path}: unsupported model_type")), "{error}");
    folder.write("config.json", "{");
    assert!(refused(&folder, &[]).starts_with(&format!("{path}: invalid JSON at line 1")));
}

#[test]
fn a_folder_without_weights_is_named() {
    let folder = Folder::of("llama");
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    let error = refused(&folder, &[]);
    assert!(error.starts_with(&format!("no weights in {}", folder.dir())), "{error}");
}

#[test]
fn a_truncated_file_is_named() {
    let folder = Folder::of("v3");
    let shard = "model-00002-of-00002.safetensors";
    let bytes = fs::read(folder.join(shard)).unwrap();
    folder.write(shard, &bytes[..bytes.len() - 1]);
    let error = refused(&folder, &[]);
    assert!(error.contains(shard) && error.ends_with("truncated"), "{error}");
    assert_eq!(refused(&folder, &["--no-mmap"]), error);
    fs::remove_file(folder.join(shard)).unwrap();
    assert!(refused(&folder, &[]).ends_with(&format!("shard {shard} missing")));
}

#[test]
fn a_weight_that_is_no_number_is_found_on_request() {
    let folder = Folder::of("llama");
    let name = "model.layers.1.mlp.up_proj.weight";
    folder.edit_weights(|tensors| {
        let (meta, bytes) = tensors.iter_mut().find(|(meta, _)| meta.name == name).unwrap();
        assert_eq!(meta.dtype, safetensors::Dtype::F32);
        bytes[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let error = refused(&folder, &["--check-weights"]);
    let wanted = format!("tensor {name}: 1 values are NaN or infinite, the first at index 2");
    assert!(error.contains(&wanted), "{error}");
    let unchecked = refused(&folder, &[]);
    assert!(unchecked.starts_with("logits: token id 0 has NaN"), "{unchecked}");
}

#[test]
fn a_tensor_that_nobody_wants_is_accepted_on_request() {
    let folder = Folder::of("llama");
    folder.edit_weights(|tensors| {
        let (mut meta, bytes) = tensors[0].clone();
        meta.name = "model.layers.7.extra.weight".into();
        tensors.push((meta, bytes));
    });
    let dir = folder.dir();
    let args = ["generate", "--model", &dir, "--tokens", "1,2", "--ignore-eos", "-n", "4"];
    let error = command(&args).output().unwrap();
    assert_eq!((error.status.code(), error.stdout.len()), (Some(1), 0));
    let error = String::from_utf8(error.stderr).unwrap();
    assert!(error.contains("unexpected tensors (1): model.layers.7.extra.weight\n"), "{error}");
    let accepted = succeeds(&[&args[..], &["--allow-extra"]].concat()).out;
    let model = case("llama");
    let plain = ["generate", "--model", &model, "--tokens", "1,2", "--ignore-eos", "-n", "4"];
    assert_eq!(accepted, succeeds(&plain).out);
}

#[test]
fn a_token_without_a_row_is_named() {
    let folder = Folder::empty();
    let (model, out) = (case("v3"), text(&folder.join("x.safetensors")));
    let wanted = "token id 320 is not below vocab_size 320";
    let tokens = ["--model", &model, "--tokens", "1,320"];
    assert_eq!(refuses_data(&[&["generate"], &tokens[..]].concat()), wanted);
    assert_eq!(refuses_data(&[&["logits", "--out", &out], &tokens[..]].concat()), wanted);
}

#[test]
fn settings_of_the_model_out_of_range_are_named_with_their_file() {
    let folder = Folder::of("llama");
    folder.write("generation_config.json", r#"{"top_p": 7}"#);
    let args = ["generate", "--model", &folder.dir(), "--tokens", "1"];
    let error = refuses_data(&args);
    assert_eq!(error, "generation_config.json: top_p: must be in (0, 1], got 7");
}
