//! The cases of the conformance pack that hold a whole model to its values.

use std::path::{Path, PathBuf};

/// The folder of a case.
pub(crate) fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(name)
}

/// Gives `stamp` the names of all.
macro_rules! golden_cases {
    ($stamp:ident) => {
        $stamp!(
            v2_lite,
            v2,
            v3,
            moonlight,
            v3_mtp,
            v3_fp8,
            kimi_k2,
            deepseek,
            deepseek_gqa,
            llama,
            llama_mha,
            llama_mqa
        );
    };
}
