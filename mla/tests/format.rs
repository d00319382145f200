//! What the formats of a cache store, held to the formulas, and where they are refused.

#![expect(clippy::float_cmp, reason = "what is stored is one certain value")]

use latent_mla::kernels::suite::Values;
use latent_mla::kernels::{PairLayout, Reference};
use latent_mla::{
    AttentionConfig, CacheFormat, GqaConfig, MlaError, PagedCache, RopeConfig, RowFormat,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn rounded(format: RowFormat, row: &[f64]) -> Vec<f64> {
    let mut row = row.to_vec();
    format.round(&mut row);
    row
}

#[test]
fn the_largest_of_a_block_keeps_its_value_and_sets_the_step() {
    let row = rounded(RowFormat::Fp8 { latent: 3 }, &[448.0, 1.06, 0.0]);
    // Between 1 and 2 a step is an eighth.
    assert_eq!(row, [448.0, 1.0, 0.0]);
    let row = rounded(RowFormat::Fp8 { latent: 2 }, &[-28.0, 0.07]);
    assert!((row[0] + 28.0).abs() < 1e-5 && (row[1] - 1.125 / 16.0).abs() < 1e-7, "{row:?}");
}

#[test]
fn each_128_elements_have_a_scale_of_their_own() {
    let mut row = vec![1e-3; 260];
    row[0] = 1e6;
    row[259] = 1e6;
    let got = rounded(RowFormat::Fp8 { latent: 259 }, &row);
    assert!(got[1..128].iter().all(|&v| v == 0.0), "too small beside 1e6");
    assert!(got[128..259].iter().all(|&v| (v - 1e-3).abs() < 1e-8), "{got:?}");
    assert_eq!(got[259], 999_424.0, "the rotated part is in bf16");
}

#[test]
fn a_block_of_small_values_has_the_scale_of_the_smallest() {
    // 1e-4 / 448 times 2^-9 is the smallest step: half of it becomes 0.
    let step = 1e-4 / 448.0 / 512.0;
    let got = rounded(RowFormat::Fp8 { latent: 3 }, &[0.49 * step, 0.51 * step, 3.0 * step]);
    assert_eq!(got[0], 0.0);
    assert!((got[1] / step - 1.0).abs() < 1e-6 && (got[2] / step - 3.0).abs() < 1e-6, "{got:?}");
}

#[test]
fn what_is_not_finite_spoils_its_block_or_itself() {
    let format = RowFormat::Fp8 { latent: 130 };
    let mut row = vec![1.0; 132];
    row[3] = f64::NAN;
    let got = rounded(format, &row);
    assert!(got[3].is_nan() && got.iter().filter(|v| v.is_nan()).count() == 1);
    row[3] = f64::INFINITY;
    let got = rounded(format, &row);
    assert!(got[..128].iter().all(|v| v.is_nan()) && got[128..].iter().all(|v| v.is_finite()));
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    /// Each element lies within half a step of what was given: 2^-4 of itself in e4m3, or half of
    /// the smallest step of its block; 2^-9 of itself in bf16.
    #[test]
    fn rounding_moves_no_element_by_more_than_half_a_step(
        width in 1_usize..300, latent in 0_usize..300, magnitude in -20_i32..20, seed: u64,
    ) {
        let latent = latent.min(width);
        let row: Vec<f64> = Values::new(seed).draw::<f64>(width);
        let row: Vec<f64> = row.iter().map(|v| v * 2.0_f64.powi(magnitude)).collect();
        let bf16 = rounded(RowFormat::Bf16, &row);
        let fp8 = rounded(RowFormat::Fp8 { latent }, &row);
        for (i, v) in row.iter().enumerate() {
            prop_assert!((bf16[i] - v).abs() <= v.abs() / 256.0);
            if i >= latent {
                prop_assert_eq!(fp8[i], bf16[i]);
                continue;
            }
            let block = &row[i / 128 * 128..latent.min(i / 128 * 128 + 128)];
            let largest = block.iter().fold(1e-4_f64, |m, v| m.max(v.abs()));
            let least = largest / 448.0 / 1024.0;
            let allowed = (v.abs() / 16.0).max(least) * (1.0 + 1e-5);
            prop_assert!((fp8[i] - v).abs() <= allowed, "{} of {v}, {largest}", fp8[i]);
        }
    }
}

#[test]
fn an_fp8_cache_of_keys_and_values_is_refused() {
    let rope = RopeConfig { theta: 1e4, yarn: None, layout: PairLayout::HalfSplit };
    let sizes = GqaConfig {
        hidden_size: 2,
        num_attention_heads: 1,
        num_key_value_heads: 1,
        head_dim: 2,
        rope,
    };
    let configs = [AttentionConfig::Grouped(sizes)];
    let cache = |format| PagedCache::with_format(Reference::<f32>::new(), &configs, 64, format);
    let error = cache(CacheFormat::Fp8).unwrap_err();
    assert!(matches!(error, MlaError::Config { field: "cache format", .. }), "{error}");
    assert_eq!(cache(CacheFormat::Bf16).unwrap().bytes_per_token(), 8);
    assert_eq!(cache(CacheFormat::Scalar).unwrap().bytes_per_token(), 16);
}
