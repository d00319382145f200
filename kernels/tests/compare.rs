//! The comparison: the cases that must fail come first, every other test rests on them.

use latent_kernels::{Mismatch, Tolerance, assert_close, compare, max_difference};

const LOOSE: Tolerance = Tolerance { atol: 1e3, rtol: 1e3 };

fn fails(got: &[f64], want: &[f64], tolerance: Tolerance) -> Mismatch {
    compare(got, want, tolerance).expect_err("must not pass")
}

#[test]
fn nan_never_passes() {
    fails(&[f64::NAN], &[1.0], LOOSE);
    fails(&[1.0], &[f64::NAN], LOOSE);
    fails(&[f64::NAN], &[f64::NAN], LOOSE);
    fails(&[f64::NAN], &[f64::INFINITY], LOOSE);
    fails(&[f64::INFINITY], &[f64::NAN], LOOSE);
}

#[test]
fn an_expected_zero_is_not_a_free_pass() {
    fails(&[1e-3], &[0.0], Tolerance { atol: 1e-6, rtol: 1e6 });
    fails(&[0.0], &[1.0], Tolerance::F32);
    compare(&[-0.0], &[0.0], Tolerance::EXACT).unwrap();
}

#[test]
fn empty_and_full_differ() {
    assert_eq!(fails(&[], &[0.0], LOOSE), Mismatch::Length { got: 0, want: 1 });
    assert_eq!(fails(&[0.0], &[], LOOSE), Mismatch::Length { got: 1, want: 0 });
    assert_eq!(fails(&[1.0, 2.0], &[1.0], LOOSE), Mismatch::Length { got: 2, want: 1 });
    compare::<f64, f64>(&[], &[], Tolerance::EXACT).unwrap();
}

#[test]
fn infinities_agree_only_with_themselves() {
    fails(&[1.0], &[f64::INFINITY], LOOSE);
    fails(&[f64::INFINITY], &[1.0], LOOSE);
    fails(&[f64::INFINITY], &[-f64::INFINITY], LOOSE);
    fails(&[f64::INFINITY], &[1.0], Tolerance { atol: f64::INFINITY, rtol: 0.0 });
    compare(&[f64::INFINITY, -f64::INFINITY], &[f64::INFINITY, -f64::INFINITY], Tolerance::EXACT)
        .unwrap();
}

#[test]
fn one_bad_element_among_many_is_found_and_named() {
    let want = vec![1.0; 10_000];
    let mut got = want.clone();
    (got[17], got[7_777]) = (1.001, 0.5);
    let Mismatch::Elements { count, total, index, got, want, difference } =
        fails(&got, &want, Tolerance::F32)
    else {
        panic!("want a mismatch of elements");
    };
    assert_eq!((count, total, index), (2, 10_000, 7_777));
    assert_close(&[got, want, difference], &[0.5, 1.0, 0.5], Tolerance::EXACT);
}

#[test]
fn nan_is_the_worst_element() {
    let Mismatch::Elements { index, count, .. } =
        fails(&[1e30, -f64::NAN, f64::INFINITY], &[0.0; 3], Tolerance::F32)
    else {
        panic!("want a mismatch of elements");
    };
    assert_eq!((index, count), (1, 3));
}

#[test]
fn the_wrong_sign_fails() {
    fails(&[-1.0], &[1.0], Tolerance::BF16);
    fails(&[1.0, -2e-2], &[1.0, 2e-2], Tolerance::BF16);
}

#[test]
fn nan_in_the_tolerance_admits_nothing() {
    fails(&[1.0], &[1.0], Tolerance { atol: f64::NAN, rtol: 0.0 });
}

#[test]
fn the_bound_itself_passes_and_scales_with_want() {
    let tolerance = Tolerance { atol: 0.5, rtol: 0.25 };
    compare(&[5.5], &[4.0], tolerance).unwrap();
    fails(&[5.75], &[4.0], tolerance);
    // It scales with what is wanted, not with what is given.
    compare(&[0.5], &[0.0], tolerance).unwrap();
    fails(&[0.625], &[0.0], tolerance);
}

#[test]
fn each_tolerance_admits_its_own_rounding_and_little_more() {
    for (tolerance, unit) in [
        (Tolerance::F64, f64::EPSILON),
        (Tolerance::F32, f64::from(f32::EPSILON)),
        (Tolerance::BF16, 2_f64.powi(-8)),
    ] {
        compare(&[1.0 + unit], &[1.0], tolerance).unwrap();
        fails(&[1.0 + 2e4 * unit], &[1.0], tolerance);
    }
}

#[test]
fn max_difference_never_hides_a_nan() {
    assert!(max_difference(&[f64::NAN, 1.0], &[0.0, 1.0]).is_nan());
    assert!(max_difference(&[1.0, f64::NAN], &[0.0, f64::NAN]).is_nan());
    assert!(max_difference(&[1.0], &[0.0; 0]).is_nan());
    let found = [
        max_difference(&[1.0, -3.0], &[0.5, 1.0]),
        max_difference(&[f64::INFINITY], &[f64::INFINITY]),
        max_difference(&[f64::INFINITY], &[0.0]),
        max_difference::<f64, f64>(&[], &[]),
    ];
    assert_close(&found, &[4.0, 0.0, f64::INFINITY, 0.0], Tolerance::EXACT);
}

#[test]
#[should_panic(expected = "1 of 1 elements differ; the worst, [0]: got 2, want 1")]
fn assert_close_says_what_differs() {
    assert_close(&[2.0_f32], &[1.0_f64], Tolerance::F32);
}
