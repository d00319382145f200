//! Frequencies and factors of a rotation, against values worked out by hand and published ones.

use latent_kernels::{
    Backend, KernelError, PairLayout, Reference, RopeTable, Tolerance, Yarn, assert_close,
};

/// `rope_scaling` of DeepSeek-V3.
const V3: Yarn = Yarn {
    factor: 40.0,
    original_max_position_embeddings: 4096,
    beta_fast: 32.0,
    beta_slow: 1.0,
    mscale: Some(1.0),
    mscale_all_dim: Some(1.0),
};

fn table(dim: usize, theta: f64, yarn: Option<&Yarn>) -> Result<RopeTable, KernelError> {
    RopeTable::new(dim, theta, yarn, PairLayout::Interleaved)
}

#[test]
fn frequencies_are_powers_of_theta() {
    let table = table(64, 10_000.0, None).unwrap();
    let want: Vec<f64> = (0..32).map(|i| 10_f64.powf(-f64::from(i) / 8.0)).collect();
    assert_close(table.frequencies(), &want, Tolerance { atol: 0.0, rtol: 1e-14 });
    assert_close(&[table.attention_factor()], &[1.0], Tolerance::EXACT);
}

#[test]
fn v3_slows_pairs_11_to_22_step_by_step() {
    // 64 ln(4096 / 2π 32) / 2 ln 10000 = 10.47, and 22.51 for one turn: the ramp is 10 to 23, so
    // that pair i keeps (40 (23 - i) + (i - 10)) / 520 of its frequency.
    let table = table(64, 10_000.0, Some(&V3)).unwrap();
    let kept = |i: usize| match i {
        0..=10 => 1.0,
        11 => 481.0 / 520.0,
        16 => 0.55,
        22 => 0.1,
        23..=31 => 1.0 / 40.0,
        _ => (40.0 * (23.0 - i as f64) + (i as f64 - 10.0)) / 520.0,
    };
    let want: Vec<f64> = (0..32).map(|i| 10_f64.powf(-(i as f64) / 8.0) * kept(i)).collect();
    assert_close(table.frequencies(), &want, Tolerance { atol: 0.0, rtol: 1e-13 });
    assert_close(&[table.frequencies()[16]], &[0.0055], Tolerance::F64);
}

#[test]
fn kimi_k2_has_no_ramp_between_equal_betas() {
    // One turn is at pair 19.16: pairs up to 19 keep their frequency, from 20 on all is slowed.
    let yarn = Yarn { factor: 32.0, beta_fast: 1.0, ..V3 };
    let table = table(64, 50_000.0, Some(&yarn)).unwrap();
    let kept = |i: usize| if i <= 19 { 1.0 } else { 1.0 / 32.0 };
    let want: Vec<f64> = (0..32).map(|i| 50_000_f64.powf(-(i as f64) / 32.0) * kept(i)).collect();
    assert_close(table.frequencies(), &want, Tolerance { atol: 0.0, rtol: 1e-13 });
}

#[test]
fn a_ramp_of_no_length_is_a_step() {
    // One turn over 6 positions is at pair -0.16: both ends of the ramp are 0.
    let yarn = Yarn { original_max_position_embeddings: 6, beta_fast: 1.0, ..V3 };
    let table = table(4, 10_000.0, Some(&yarn)).unwrap();
    assert_close(table.frequencies(), &[1.0, 0.01 / 40.0], Tolerance::F64);
}

#[test]
fn frequencies_agree_with_transformers() {
    // `inv_freq` of the rotary embedding of transformers 5.23, in f32: DeepSeek-V3's settings with
    // 16 and 32 rotated elements, Moonlight's with 16.
    let v3_16 =
        [1.0, 0.316_227_76, 0.1, 0.023_914_725, 0.005_125, 0.000_849_862_2, 2.5e-5, 7.905_694_5e-6];
    let v3_32 = [
        1.0,
        0.562_341_33,
        0.316_227_76,
        0.177_827_94,
        0.1,
        0.056_234_13,
        0.027_218_176,
        0.012_829_017,
        0.005_821_428,
        0.002_490_368_7,
        0.000_959_977_16,
        0.000_292_145_9,
        2.5e-5,
        1.405_853_3e-5,
        7.905_694_5e-6,
        4.445_698_3e-6,
    ];
    let moonlight = [
        1.0,
        0.258_600_15,
        0.066_874_035,
        0.017_293_634,
        0.004_472_136,
        0.001_156_494_95,
        0.000_299_069_77,
        7.733_948e-5,
    ];
    let tolerance = Tolerance { atol: 0.0, rtol: 3e-7 };
    assert_close(table(16, 1e4, Some(&V3)).unwrap().frequencies(), &v3_16, tolerance);
    assert_close(table(32, 1e4, Some(&V3)).unwrap().frequencies(), &v3_32, tolerance);
    assert_close(table(16, 5e4, None).unwrap().frequencies(), &moonlight, tolerance);
}

#[test]
fn yarn_factors_are_the_published_ones() {
    // 0.1 ln 40 + 1 = 1.36889, squared 1.87385; V2 has 0.707 in both places.
    let v2 = Yarn { mscale: Some(0.707), mscale_all_dim: Some(0.707), ..V3 };
    let unset = Yarn { mscale: None, mscale_all_dim: None, ..V3 };
    let got = [
        V3.attention_factor(),
        V3.softmax_factor(),
        v2.attention_factor(),
        v2.softmax_factor(),
        unset.attention_factor(),
        unset.softmax_factor(),
        Yarn { mscale: Some(2.0), ..V3 }.attention_factor(),
        Yarn::magnitude(1.0, 5.0),
        Yarn::magnitude(0.5, 5.0),
    ];
    let m = 1.368_887_945_411_393_6;
    let m_v2 = 1.260_803_777_405_855_4;
    let want = [1.0, m * m, 1.0, m_v2 * m_v2, m, 1.0, (2.0 * m - 1.0) / m, 1.0, 1.0];
    assert_close(&got, &want, Tolerance::F64);
}

#[test]
fn a_quarter_turn_swaps_the_pair() {
    // One pair turns by one radian per position: 11 radians are 0.0044 from -π/2 + 4π.
    let table = table(2, 10_000.0, None).unwrap();
    let cpu = Reference::<f64>::new();
    let x = cpu.upload(&[7.0, 1.0, 0.0], &[1, 1, 3]).unwrap();
    let y = cpu.download(&cpu.rope(&x, &table, &[11]).unwrap()).unwrap();
    assert_close(&y, &[7.0, 11_f64.cos(), 11_f64.sin()], Tolerance::F64);
    assert_close(&y, &[7.0, 0.0, -1.0], Tolerance { atol: 0.005, rtol: 0.0 });
}

#[test]
fn settings_out_of_range_are_named() {
    let refused = |dim, theta, yarn: Option<&Yarn>, name: &str| {
        let error = table(dim, theta, yarn).unwrap_err();
        assert!(matches!(error, KernelError::Setting { .. }), "{error}");
        assert!(error.to_string().starts_with(name), "{error}");
    };
    refused(3, 1e4, None, "rope dim: got 3, want an even number");
    for theta in [1.0, 0.0, -5.0, f64::NAN, f64::INFINITY] {
        refused(4, theta, None, "rope_theta");
    }
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused(4, 1e4, Some(&Yarn { factor: bad, ..V3 }), "rope_scaling.factor");
        refused(4, 1e4, Some(&Yarn { beta_fast: bad, ..V3 }), "rope_scaling.beta_fast");
        refused(4, 1e4, Some(&Yarn { beta_slow: bad, ..V3 }), "rope_scaling.beta_slow");
    }
    for bad in [-10.0, f64::NAN, f64::INFINITY] {
        refused(4, 1e4, Some(&Yarn { mscale: Some(bad), ..V3 }), "rope_scaling.mscale");
        refused(4, 1e4, Some(&Yarn { mscale_all_dim: Some(bad), ..V3 }), "rope_scaling.mscale");
    }
    let none = Yarn { original_max_position_embeddings: 0, ..V3 };
    refused(4, 1e4, Some(&none), "rope_scaling.original_max_position_embeddings");
}
