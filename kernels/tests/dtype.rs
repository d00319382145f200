//! Stored element types: every value, and rounding where it is hardest.

use half::{bf16, f16};
use latent_kernels::{Dtype, Tolerance, assert_close};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

fn decode(dtype: Dtype, bytes: &[u8]) -> f64 {
    let mut out = [f64::NAN];
    dtype.decode(bytes, &mut out);
    out[0]
}

/// Proves that `bytes` stand for `want` in both scalars, and that `want` is stored as `bytes`.
fn assert_stands_for(dtype: Dtype, bytes: &[u8], want: f64) {
    let mut narrow = [0.0_f32];
    dtype.decode(bytes, &mut narrow);
    for got in [decode(dtype, bytes), f64::from(narrow[0])] {
        let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
        assert!(same, "{dtype} {bytes:x?}: got {got:e}, want {want:e}");
    }
    let again = dtype.encode(&[want]);
    if want.is_nan() {
        assert!(decode(dtype, &again).is_nan(), "{dtype} {bytes:x?}: NaN stored as {again:x?}");
    } else {
        assert_eq!(again, bytes, "{dtype}: {want:e} stored");
    }
}

#[test]
fn all_values_of_bf16_agree_with_half() {
    for bits in 0..=u16::MAX {
        let want = bf16::from_bits(bits).to_f64();
        assert_stands_for(Dtype::Bf16, &bits.to_le_bytes(), want);
    }
}

#[test]
fn all_values_of_f16_agree_with_half() {
    for bits in 0..=u16::MAX {
        let want = f16::from_bits(bits).to_f64();
        assert_stands_for(Dtype::F16, &bits.to_le_bytes(), want);
    }
}

/// e4m3 by its definition: `(-1)^s 2^(e - 7) 1.m`, and `2^-6 0.m` where `e` is 0.
fn e4m3(bits: u8) -> f64 {
    let sign = if bits >= 0x80 { -1.0 } else { 1.0 };
    let (exponent, mantissa) = (i32::from(bits / 8 % 16), f64::from(bits % 8) / 8.0);
    match (exponent, bits % 128) {
        (_, 127) => f64::NAN,
        (0, _) => sign * mantissa * 2_f64.powi(-6),
        _ => sign * (1.0 + mantissa) * 2_f64.powi(exponent - 7),
    }
}

#[test]
fn all_values_of_e4m3_follow_the_formula() {
    for bits in 0..=u8::MAX {
        assert_stands_for(Dtype::F8E4m3, &[bits], e4m3(bits));
    }
    assert_close(
        &[e4m3(0x7e), e4m3(0x01), e4m3(0x38)],
        &[448.0, 1.0 / 512.0, 1.0],
        Tolerance::EXACT,
    );
}

#[test]
fn whole_numbers_are_exact_saturate_and_round_ties_to_even() {
    for value in -127..=i8::MAX {
        assert_stands_for(Dtype::I8, &value.to_le_bytes(), f64::from(value));
    }
    // Read from files, and never written: its opposite does not exist.
    assert_close(&[decode(Dtype::I8, &[0x80])], &[-128.0], Tolerance::EXACT);
    let values = [0.5, 1.5, -2.5, 126.6, 127.4, 1e9, -127.6, f64::NEG_INFINITY, f64::NAN];
    let want = [0, 2, -2, 127, 127, 127, -127, -127, 0].map(i8::to_le_bytes).concat();
    assert_eq!(Dtype::I8.encode(&values), want);
}

/// Proves rounding to nearest, ties to even, between each two neighbours of a 16 or 8 bit type:
/// `step(i)` is the i-th value from 0 up, as bytes.
fn assert_rounds_to_even(dtype: Dtype, neighbours: u16, step: impl Fn(u16) -> Vec<u8>) {
    for below in 0..neighbours {
        let (low, high) = (step(below), step(below + 1));
        let (a, b) = (decode(dtype, &low), decode(dtype, &high));
        let tie = f64::midpoint(a, b);
        let even = if below % 2 == 0 { &low } else { &high };
        let cases = [(tie, even), (tie.next_down(), &low), (tie.next_up(), &high)];
        for (v, want) in cases {
            assert_eq!(&dtype.encode(&[v]), want, "{dtype}: {v:e} between {a:e} and {b:e}");
            let mut negative = want.clone();
            *negative.last_mut().expect("at least one byte") |= 0x80;
            assert_eq!(dtype.encode(&[-v]), negative, "{dtype}: {:e}", -v);
        }
    }
}

#[test]
fn ties_of_e4m3_go_to_even() {
    assert_rounds_to_even(Dtype::F8E4m3, 0x7e, |i| vec![u8::try_from(i).expect("seven bits")]);
}

#[test]
fn ties_of_f16_go_to_even() {
    assert_rounds_to_even(Dtype::F16, 0x7bff, |i| i.to_le_bytes().to_vec());
}

#[test]
fn ties_of_bf16_go_to_even() {
    assert_rounds_to_even(Dtype::Bf16, 0x7f7f, |i| i.to_le_bytes().to_vec());
}

#[test]
fn e4m3_saturates_and_the_others_overflow() {
    for v in [448.0, 449.0, 464.0, 1e9, f64::MAX, f64::INFINITY] {
        assert_eq!(Dtype::F8E4m3.encode(&[v, -v]), [0x7e, 0xfe], "{v}");
    }
    for dtype in [Dtype::F16, Dtype::Bf16, Dtype::F32] {
        let infinite = [f64::INFINITY, f64::NEG_INFINITY];
        assert_eq!(dtype.encode(&[f64::MAX, f64::MIN]), dtype.encode(&infinite), "{dtype}");
    }
    assert_close(
        &[decode(Dtype::F16, &Dtype::F16.encode(&[65519.0]))],
        &[65504.0],
        Tolerance::EXACT,
    );
}

#[test]
#[should_panic(expected = "decode: byte length")]
fn half_an_element_is_refused() {
    Dtype::F32.decode(&[0; 7], &mut [0.0_f32; 2]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    /// Storing f32 in 16 bits is what `half` does from f32, where it does not drop bits first.
    #[test]
    fn f32_is_stored_as_half_stores_it(bits: u32) {
        let v = f32::from_bits(bits);
        prop_assume!(!v.is_nan());
        prop_assert_eq!(Dtype::F16.encode(&[v]), f16::from_f32(v).to_le_bytes());
        prop_assert_eq!(Dtype::Bf16.encode(&[v]), bf16::from_f32(v).to_le_bytes());
        prop_assert_eq!(Dtype::F32.encode(&[v]), v.to_le_bytes());
        prop_assert_eq!(Dtype::F64.encode(&[v]), f64::from(v).to_le_bytes());
    }
}
