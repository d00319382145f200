//! The conformance cases that are part of the program.

use std::io;
use std::path::Path;

/// A tiny checkpoint with expected values.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

macro_rules! case {
    ($name:literal, $what:literal, [$($file:literal),+]) => {
        Case {
            name: $name,
            what: $what,
            files: &[$((
                $file,
                include_bytes!(concat!("../../../conformance/", $name, "/", $file)),
            )),+],
        }
    };
    ($name:literal, $what:literal) => {
        case!($name, $what, ["config.json", "model.safetensors", "goldens.safetensors"])
    };
    ($name:literal, $what:literal, two shards) => {
        case!($name, $what, [
            "config.json",
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "goldens.safetensors"
        ])
    };
}

/// One case of each family.
pub(super) const CASES: &[Case] = &[
    case!("v2_lite", "plain query, softmax gate, YaRN"),
    case!("v2", "compressed query, groups by best expert"),
    case!("v3", "sigmoid gate, bias chooses, two files", two shards),
    case!("v3_fp8", "FP8 weights in 128 x 128 blocks"),
    case!("v3_mtp", "predicts the second next token", two shards),
    case!("moonlight", "V3's gate without groups, no YaRN"),
    case!("kimi_k2", "one group, beta_fast = beta_slow"),
    case!("deepseek", "softmax gate behind multi-head attention"),
    case!("llama", "grouped queries, tied embedding"),
];

impl Case {
    /// Writes the case's files into `dir`.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        self.files.iter().try_for_each(|(name, bytes)| std::fs::write(dir.join(name), bytes))
    }
}
