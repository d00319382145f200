//! The range of every size: wide enough for any model to come, narrow enough that no product of
//! sizes overflows and nothing absurd is ever allocated.

use std::ops::RangeInclusive;

/// The most parameters that a configuration may describe.
pub(super) const MAX_PARAMETERS: u128 = 1 << 50;

/// The values that `rms_norm_eps` may take: the normal numbers of `f32` above 0. One that rounds to
/// 0 would turn a row of zeros into NaN.
pub(super) const RMS_NORM_EPS: RangeInclusive<f64> = f32::MIN_POSITIVE as f64..=f32::MAX as f64;

/// The values that `field` may take.
///
/// | field | range |
/// | --- | --- |
/// | `hidden_size`, `q_lora_rank`, `kv_lora_rank` | 1 to 2^20 |
/// | `intermediate_size`, `moe_intermediate_size` | 1 to 2^22 |
/// | `vocab_size` | 1 to 2^24 |
/// | `num_hidden_layers`, `moe_layer_freq` | 1 to 4096 |
/// | `first_k_dense_replace` | 0 to 4096 |
/// | `num_nextn_predict_layers` | 0 to 64 |
/// | `n_shared_experts` | 0 to 1024 |
/// | `max_position_embeddings`, `original_max_position_embeddings` | 1 to 2^30 |
/// | any other: counts of heads, experts and groups, widths of heads and blocks | 1 to 2^16 |
pub(super) fn range(field: &str) -> RangeInclusive<usize> {
    match field {
        "hidden_size" | "q_lora_rank" | "kv_lora_rank" => 1..=1 << 20,
        "intermediate_size" | "moe_intermediate_size" => 1..=1 << 22,
        "vocab_size" => 1..=1 << 24,
        "num_hidden_layers" | "moe_layer_freq" => 1..=4096,
        "first_k_dense_replace" => 0..=4096,
        "num_nextn_predict_layers" => 0..=64,
        "n_shared_experts" => 0..=1024,
        "max_position_embeddings" | "original_max_position_embeddings" => 1..=1 << 30,
        _ => 1..=1 << 16,
    }
}
