//! Any text is a config or an error: never a panic.
#![no_main]

use latent_model::config::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = ModelConfig::from_json(text);
});
