//! The embedded configurations, and the sizes that follow from them.

use latent_kernels::Dtype;
use latent_model::checkpoint::{Checkpoint, OpenOptions};
use latent_model::config::{
    DecodeForm, ModelConfig, ModelType, PUBLISHED, Quantization, published,
};

use crate::examples::conformance_cases;

#[test]
fn published_configurations_read_without_a_warning() {
    for (name, text) in PUBLISHED {
        let (config, warnings) = ModelConfig::from_json(text).unwrap();
        assert_eq!(warnings, [], "{name}");
        config.validate().unwrap();
    }
    let get = |name| published().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(get("deepseek-v3").quantization, Some(Quantization::Fp8 { block: [128, 128] }));
    assert_eq!(get("deepseek-v2").dtype, Some(Dtype::Bf16));
    assert_eq!(get("kimi-k2").model_type, ModelType::KimiK2);
    assert_eq!(get("deepseek-v3"), get("deepseek-r1"));
}

/// Total and active parameters in billions as published, to the digits published.
#[test]
fn parameters_are_the_published_ones() {
    let known = [
        // The paper's 2.8 B active count the embedding, 0.21 B.
        ("deepseek-moe-16b", 16.4, 2.6, 0.06),
        ("deepseek-v2-lite", 15.7, 2.4, 0.06),
        ("deepseek-v2", 236.0, 21.0, 0.5),
        ("deepseek-v3", 671.0, 37.0, 0.6),
        ("deepseek-r1", 671.0, 37.0, 0.6),
        ("moonlight-16b-a3b", 16.0, 3.0, 0.5),
        ("kimi-k2", 1026.4, 32.0, 0.6),
        ("deepseek-67b", 67.0, 67.0, 0.9),
        ("smollm2-135m", 0.135, 0.135, 0.0005),
    ];
    let found = published();
    assert_eq!(found.len(), known.len());
    for ((name, config), (known_name, total, active, within)) in found.into_iter().zip(known) {
        assert_eq!(name, known_name);
        let total_found = config.total_parameters() as f64 / 1e9;
        let active_found = config.active_parameters() as f64 / 1e9;
        assert!((total_found - total).abs() <= within, "{name}: {total_found} total");
        assert!((active_found - active).abs() <= within, "{name}: {active_found} active");
    }
}

/// The elements of the released files, which count some things that are not parameters.
#[test]
fn parameters_are_those_of_the_released_files() {
    let get = |name| published().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(get("smollm2-135m").total_parameters(), 134_515_008);
    assert_eq!(get("deepseek-v3").total_parameters(), 671_026_419_200);
    // Block scales of attention, the dense layer, and 385 experts in 60 layers; frequencies.
    let scales = 61 * (5 * 56 + 128 * 4 + 56 * 64 + 12 * 56 + 96 * 12)
        + 3 * 56 * 144
        + 60 * 385 * 3 * 56 * 16;
    let frequencies = 61 * 56;
    let files = 1_026_470_731_056;
    assert_eq!(get("kimi-k2").total_parameters(), files - scales - frequencies);
}

/// The elements of all tensors that `config` asks a checkpoint for.
fn listed_elements(config: &ModelConfig) -> u64 {
    config.tensors().iter().map(|t| t.elements().unwrap() as u64).sum()
}

#[test]
fn parameters_are_the_elements_of_the_tensors_asked_for() {
    for (name, config) in published() {
        let counted = config.total_parameters() + config.mtp_parameters();
        assert_eq!(counted, listed_elements(&config), "{name}");
    }
}

/// Block scales, and what files repeat for multi-token prediction, are no parameters.
#[test]
fn parameters_are_the_elements_in_the_files_of_every_conformance_case() {
    let mut counted = 0;
    for dir in conformance_cases() {
        let (config, _) = ModelConfig::from_dir(&dir).unwrap();
        let parameters = config.total_parameters() + config.mtp_parameters();
        assert_eq!(parameters, listed_elements(&config), "{}", dir.display());
        let files = Checkpoint::open(&dir, OpenOptions::default()).unwrap();
        let repeated = config.repeated_tensors();
        let elements: usize = files
            .names()
            .filter(|name| !name.ends_with("_scale_inv") && !repeated.iter().any(|r| r == name))
            .map(|name| files.info(name).unwrap().shape.iter().product::<usize>())
            .sum();
        assert_eq!(parameters, elements as u64, "{}", dir.display());
        counted += 1;
    }
    assert!(counted >= 14, "{counted} cases");
}

#[test]
fn cached_bytes_are_the_published_ones() {
    let get = |name| published().into_iter().find(|(n, _)| *n == name).unwrap().1;
    assert_eq!(get("deepseek-v2-lite").cached_bytes_per_token(2), 31_104);
    assert_eq!(get("deepseek-v2").cached_bytes_per_token(2), 69_120);
    assert_eq!(get("deepseek-v3").cached_bytes_per_token(2), 70_272);
    assert_eq!(get("deepseek-v3").cached_fp8_bytes_per_token(), Some(40_016));
    assert_eq!(get("deepseek-moe-16b").cached_bytes_per_token(2), 229_376);
    assert_eq!(get("deepseek-67b").cached_bytes_per_token(2), 2 * 2048 * 95);
    assert_eq!(get("deepseek-67b").cached_fp8_bytes_per_token(), None);
}

/// Multiply-adds of V3 per query, key and head: 1,088 absorbed, 320 expanded, and 131,072 to
/// expand a key.
#[test]
fn decode_flops_grow_by_the_known_cost_of_a_key() {
    let v3 = published().into_iter().find(|(n, _)| *n == "deepseek-v3").unwrap().1;
    let growth = |form| v3.decode_flops(4097, form) - v3.decode_flops(4096, form);
    assert_eq!(growth(DecodeForm::Absorbed), 2 * 61 * 128 * 1088);
    assert_eq!(growth(DecodeForm::Expanded), 2 * 61 * 128 * (320 + 131_072));
    let start = v3.decode_flops(1, DecodeForm::Absorbed) - 2 * 61 * 128 * 1088;
    assert_eq!(start, v3.decode_flops(1, DecodeForm::Expanded) - 2 * 61 * 128 * 320);
    let ratio = start as f64 / v3.active_parameters() as f64;
    assert!((1.9999..2.0).contains(&ratio), "{ratio} operations a parameter");
    let llama = published().into_iter().find(|(n, _)| *n == "deepseek-67b").unwrap().1;
    let growth =
        llama.decode_flops(2, DecodeForm::Absorbed) - llama.decode_flops(1, DecodeForm::Absorbed);
    assert_eq!(growth, 2 * 95 * 64 * 256);
}
