//! The command on the fast backend for processors.

use crate::folder::{case, expected, list};
use crate::program::{refuses_usage, succeeds};

/// The ids that the prompt of a conformance case is continued by.
pub(crate) fn generate(flags: &[&str]) -> String {
    let tokens = list(&expected("v3").input_ids);
    let model = case("v3");
    let fixed = ["generate", "--model", &model, "--tokens", &tokens, "-n", "8", "--ignore-eos"];
    succeeds(&[&fixed[..], flags].concat()).out
}

#[test]
fn ids_are_those_of_the_reference() {
    for flags in [&[][..], &["--form", "expanded"], &["--temperature", "0.8", "--seed", "4"]] {
        let want = generate(&[&["--backend", "reference"], flags].concat());
        assert_eq!(generate(&[&["--backend", "cpu"], flags].concat()), want, "{flags:?}");
        let portable = ["--backend", "cpu", "--isa", "portable", "--threads", "3"];
        assert_eq!(generate(&[&portable[..], flags].concat()), want, "{flags:?}");
    }
}

#[test]
fn eight_bits_give_the_same_ids_however_they_are_run() {
    let int8 = |flags: &[&str]| generate(&[&["--dtype", "int8"], flags].concat());
    let want = int8(&[]);
    assert_eq!(int8(&["--backend", "cpu", "--threads", "3", "--chunk", "2"]), want);
    assert_eq!(int8(&["--backend", "cpu", "--no-mmap"]), want);
}

#[test]
fn a_bench_measures_the_machine_first() {
    let model = case("v3");
    let fixed = ["bench", "--model", &model, "--backend", "cpu", "--prompt", "9", "--new", "2"];
    let printed = succeeds(&[&fixed[..], &["--runs", "1"]].concat());
    for row in ["GB/s, measured", "GFLOP/s, measured", "experts_up", "attend"] {
        assert!(printed.out.contains(row), "{row}: {}", printed.out);
    }
    let json = succeeds(&[&fixed[..], &["--runs", "1", "--json"]].concat()).out;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(report["measured_read_bytes_per_second"].as_f64() > Some(1e6));
    assert!(report["decode"]["kernels"]["linear"]["multiply_adds"].as_u64() > Some(0));
}

#[test]
fn sequences_of_a_batch_count_together() {
    let model = case("v3");
    let fixed = ["bench", "--model", &model, "--backend", "cpu", "--prompt", "9", "--new", "2"];
    let report = |flags: &[&str]| -> serde_json::Value {
        let all = [&fixed[..], &["--runs", "1", "--json"], flags].concat();
        serde_json::from_str(&succeeds(&all).out).unwrap()
    };
    let (one, three) = (report(&[]), report(&["--batch-size", "3", "--chunk", "4"]));
    for (phase, tokens) in [("prefill", 9), ("decode", 2)] {
        assert_eq!(one[phase]["tokens"], tokens);
        assert_eq!(three[phase]["tokens"], 3 * tokens);
    }
    let launches = |report: &serde_json::Value| report["decode"]["total"]["launches"].as_u64();
    assert!(launches(&one).is_some());
    assert_eq!(launches(&three), launches(&one), "one pass for all sequences");
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let model = case("v3");
    let fixed = ["generate", "--model", &model, "--tokens", "1"];
    for (flags, wanted) in [
        (&["--backend", "cpu", "--dtype", "f64"][..], "--dtype f64 wants --backend reference"),
        (&["--backend", "reference", "--dtype", "int8"], "--dtype int8 wants --backend cpu"),
        (&["--backend", "reference", "--dtype", "bf16"], "--dtype bf16 wants --backend cpu"),
        (&["--backend", "reference", "--threads", "2"], "--threads and --isa want --backend cpu"),
        (&["--isa", "avx2"], "--threads and --isa want --backend cpu"),
        (
            &["--backend", "cpu", "--isa", "mmx"],
            "isa: got mmx, want amx, avx512bf16, avx512vnni, avx512, avx2, neon, portable",
        ),
        (&["--backend", "cpu", "--threads", "0"], "want at least 1"),
    ] {
        let error = refuses_usage(&[&fixed[..], flags].concat());
        assert!(error.contains(wanted), "{flags:?}: {error}");
    }
}
