//! `latent` alone.

use crate::program::{fits_the_terminal, succeeds};

#[test]
fn every_embedded_case_holds() {
    let printed = succeeds(&[]);
    for case in
        ["v2_lite", "v2", "v3", "v3_fp8", "v3_mtp", "moonlight", "kimi_k2", "deepseek", "llama"]
    {
        let row = |line: &&str| line.split_whitespace().any(|word| word == case);
        let row = printed.out.lines().find(row).unwrap();
        assert!(row.contains("holds") && !row.contains("DIFFER"), "{row}");
    }
    assert_eq!(printed.out.matches("holds").count(), 9, "{}", printed.out);
    assert!(!printed.out.contains("FAILS"), "{}", printed.out);
    fits_the_terminal(&printed.out);
    assert_eq!(printed.err, "", "progress is for terminals");
}

#[test]
fn it_shows_the_ladder_and_what_to_try_next() {
    let printed = succeeds(&[]);
    for wanted in ["70,272", "latent kv", "latent inspect", "latent generate", "./check"] {
        assert!(printed.out.contains(wanted), "{wanted} is not in\n{}", printed.out);
    }
}
