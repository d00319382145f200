//! The configurations of published models, embedded.

use super::ModelConfig;

/// The name and the `config.json` of each embedded model.
pub const PUBLISHED: [(&str, &str); 9] = [
    ("deepseek-moe-16b", include_str!("../../configs/deepseek-moe-16b.json")),
    ("deepseek-v2-lite", include_str!("../../configs/deepseek-v2-lite.json")),
    ("deepseek-v2", include_str!("../../configs/deepseek-v2.json")),
    ("deepseek-v3", include_str!("../../configs/deepseek-v3.json")),
    ("deepseek-r1", include_str!("../../configs/deepseek-r1.json")),
    ("moonlight-16b-a3b", include_str!("../../configs/moonlight-16b-a3b.json")),
    ("kimi-k2", include_str!("../../configs/kimi-k2.json")),
    ("deepseek-67b", include_str!("../../configs/deepseek-67b.json")),
    ("smollm2-135m", include_str!("../../configs/smollm2-135m.json")),
];

/// The embedded models by name, in the order of [`PUBLISHED`].
///
/// # Panics
/// Never: a test reads each of them.
#[must_use]
pub fn published() -> Vec<(&'static str, ModelConfig)> {
    let read = |(name, text)| {
        let (config, _) = ModelConfig::from_json(text).expect("embedded configurations are valid");
        (name, config)
    };
    PUBLISHED.into_iter().map(read).collect()
}
