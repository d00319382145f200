//! The command on a GPU, a software one at least.

use crate::cpu::generate;
use crate::folder::case;
use crate::program::{refuses_data, refuses_usage, succeeds};

#[test]
fn ids_are_those_of_the_reference() {
    for flags in [&[][..], &["--form", "expanded"], &["--temperature", "0.8", "--seed", "4"]] {
        let want = generate(&[&["--backend", "reference"], flags].concat());
        assert_eq!(generate(&[&["--backend", "gpu"], flags].concat()), want, "{flags:?}");
    }
}

#[test]
fn devices_are_listed_and_taken_by_number() {
    let listed = succeeds(&["devices"]).out;
    assert!(listed.contains("largest buffer"), "{listed}");
    assert_eq!(generate(&["--backend", "gpu", "--device", "0"]), generate(&["--backend", "gpu"]));
    let model = case("v3");
    let fixed = ["generate", "--model", &model, "--tokens", "1", "--backend", "gpu"];
    let error = refuses_data(&[&fixed[..], &["--device", "99"]].concat());
    assert!(error.starts_with("no device: want device 99, found "), "{error}");
    let error = refuses_usage(&[&fixed[..], &["--device", "best"]].concat());
    assert!(error.contains("want a number of the list of devices"), "{error}");
}

#[test]
fn a_bench_counts_launches_bytes_and_operations() {
    let model = case("v3");
    let fixed = ["bench", "--model", &model, "--backend", "gpu", "--prompt", "9", "--new", "2"];
    let printed = succeeds(&[&fixed[..], &["--runs", "1", "--peak-bandwidth", "100"]].concat());
    for row in ["launches per token", "waits per token", "share of 100 GB/s", "experts_up"] {
        assert!(printed.out.contains(row), "{row}: {}", printed.out);
    }
    assert_eq!(printed.err, "");
    let json = succeeds(&[&fixed[..], &["--runs", "1", "--json"]].concat()).out;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(report["decode"]["tokens"], 2);
    assert_eq!(report["decode"]["synchronisations"], 2);
    assert!(report["decode"]["kernels"]["linear"]["multiply_adds"].as_u64() > Some(0));
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let model = case("v3");
    let fixed = ["generate", "--model", &model, "--tokens", "1"];
    let error = refuses_usage(&[&fixed[..], &["--backend", "gpu", "--dtype", "f64"]].concat());
    assert!(error.contains("--dtype f64 wants --backend reference"), "{error}");
    let error = refuses_usage(&[&fixed[..], &["--device", "0"]].concat());
    assert!(error.contains("--device wants --backend gpu"), "{error}");
}

#[test]
fn a_cache_of_fewer_bytes_says_so() {
    let model = case("v3");
    let fixed = ["generate", "--model", &model, "--tokens", "5,17,200", "-n", "4", "--ignore-eos"];
    let bytes = |flags: &[&str]| -> u64 {
        let err = succeeds(&[&fixed[..], flags].concat()).err;
        let (_, rest) = err.split_once("cache ").unwrap();
        rest.split_once(" B").unwrap().0.parse().unwrap()
    };
    for backend in ["reference", "gpu"] {
        let plain = bytes(&["--backend", backend]);
        let half = bytes(&["--backend", backend, "--kv-cache-dtype", "bf16"]);
        let fp8 = bytes(&["--backend", backend, "--kv-cache-dtype", "fp8"]);
        assert_eq!(plain, 2 * half, "{backend}");
        assert!(fp8 < half, "{backend}: {fp8} B");
    }
    let llama = case("llama");
    let fixed = ["generate", "--model", &llama, "--tokens", "1", "--kv-cache-dtype", "fp8"];
    let error = refuses_data(&fixed);
    assert!(error.contains("latent"), "{error}");
}
