//! `latent inspect`.

use crate::folder::{CASES, Folder, case};
use crate::program::{command, fits_the_terminal, refuses_data, succeeds};

#[test]
fn what_the_files_hold_is_counted() {
    let printed = succeeds(&["inspect", &case("v3_fp8")]);
    for wanted in ["deepseek_v3", "F8_E4M3", "FP8 e4m3, a scale per 128 x 128", "1 file, "] {
        assert!(printed.out.contains(wanted), "{wanted} is not in\n{}", printed.out);
    }
}

#[test]
fn every_case_is_as_its_config_wants() {
    for name in CASES {
        let printed = succeeds(&["inspect", &case(name)]);
        let row = printed.out.lines().find(|line| line.contains("as the config wants")).unwrap();
        assert!(row.contains("yes"), "{name}: {row}");
        fits_the_terminal(printed.out.split_once('\n').unwrap().1);
        assert_eq!(printed.err, "", "{name}");
    }
    let printed = succeeds(&["inspect", &case("v3_mtp")]);
    assert!(printed.out.contains("1 layer, ") && !printed.out.contains("1 layers"));
}

#[test]
fn an_embedded_name_and_a_file_are_taken() {
    let printed = succeeds(&["inspect", "deepseek-v3"]);
    for wanted in ["671.0 B", "256 routed", "multi-token prediction", "none here", "1 layer,"] {
        assert!(printed.out.contains(wanted), "{wanted} is not in\n{}", printed.out);
    }
    fits_the_terminal(&printed.out);
    let printed = succeeds(&["inspect", "deepseek-moe-16b"]);
    for wanted in
        ["16.4 B", "2.6 B active", "16 heads of 128 in 16 groups", "6 of 64 routed, greedy"]
    {
        assert!(printed.out.contains(wanted), "{wanted} is not in\n{}", printed.out);
    }
    let printed = succeeds(&["inspect", &format!("{}/config_v5.json", case("v2"))]);
    assert!(printed.out.contains("group_limited_greedy, 2 of 4 groups"), "{}", printed.out);
}

#[test]
fn an_unusable_config_is_an_error_of_data() {
    let folder = Folder::empty();
    assert!(refuses_data(&["inspect", &folder.dir()]).contains("config.json not found in"));
    folder.write("config.json", r#"{"model_type": "deepseek_v4"}"#);
    let error = refuses_data(&["inspect", &folder.dir()]);
    assert!(error.contains("unsupported model_type \"deepseek_v4\"; supported:"), "{error}");
}

#[test]
fn an_unknown_key_is_warned_of_on_standard_error() {
    let folder = Folder::of("llama");
    folder.edit("config.json", |config| config["hiden_size"] = 1.into());
    let printed = succeeds(&["inspect", &folder.dir()]);
    assert!(printed.err.starts_with("warning: ") && printed.err.contains("\"hiden_size\""));
    assert!(!printed.out.contains("warning"));
}

/// The table is shown, since it helps to see why; the verdict is on standard error.
#[test]
fn tensors_that_are_not_as_the_config_wants_are_listed() {
    let folder = Folder::of("llama");
    folder.edit_weights(|tensors| {
        for (meta, _) in tensors {
            match meta.name.as_str() {
                "model.layers.0.self_attn.k_proj.weight" => meta.shape.reverse(),
                "model.layers.1.mlp.up_proj.weight" => {
                    meta.dtype = safetensors::Dtype::I64;
                    meta.shape[1] /= 2;
                }
                "model.norm.weight" => meta.name = "model.norm.wait".into(),
                _ => {}
            }
        }
    });
    let output = command(&["inspect", &folder.dir()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr).unwrap());
    assert!(out.unwrap().contains("as the config wants"));
    for wanted in [
        "error: the checkpoint is not what the config wants\n",
        "missing tensors (1): model.norm.weight\n",
        "unexpected tensors (1): model.norm.wait\n",
        "unusable tensors (2):\n",
        "k_proj.weight: shape [48, 16], the config wants [16, 48] (it is the transpose)\n",
        "model.layers.1.mlp.up_proj.weight: shape [88, 24], the config wants [88, 48]\n",
    ] {
        assert!(err.contains(wanted), "{wanted} is not in\n{err}");
    }
}

/// Half a terabyte of holes, which nobody could read in the time of a test.
#[cfg(unix)]
#[test]
fn weights_are_not_read() {
    use latent_model::config::published;
    let (_, v2) = published().into_iter().find(|(name, _)| *name == "deepseek-v2").unwrap();
    let mut end = 0;
    let entries: Vec<String> = v2
        .tensors()
        .iter()
        .map(|tensor| {
            let begin = end;
            end += 2 * tensor.elements().unwrap();
            let (name, shape) = (&tensor.name, &tensor.shape);
            format!(
                r#""{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
            )
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let folder = Folder::empty();
    folder.write("config.json", v2.to_json().unwrap());
    folder.write(
        "model.safetensors",
        [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat(),
    );
    let file = std::fs::OpenOptions::new().write(true).open(folder.join("model.safetensors"));
    file.unwrap().set_len((8 + header.len() + end) as u64).unwrap();
    let printed = succeeds(&["inspect", &folder.dir()]);
    assert!(printed.out.contains("1 file, 439.1 GiB"), "{}", printed.out);
}
