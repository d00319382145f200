//! Softmax: values checked by hand.

use latent_kernels::softmax::check;
use latent_kernels::{Backend, Reference, Tolerance, assert_close};

#[test]
fn logarithms_give_their_shares() {
    let cpu = Reference::<f64>::new();
    let logs = [1.0, 2.0, 5.0, 1.0, 1.0, f64::MIN_POSITIVE].map(f64::ln);
    let y = cpu.softmax(&cpu.upload(&logs, &[2, 3]).unwrap()).unwrap();
    let want = [0.125, 0.25, 0.625, 0.5, 0.5, 0.0];
    assert_close(&cpu.download(&y).unwrap(), &want, Tolerance::F64);
}

#[test]
fn a_row_that_attends_to_nothing_is_zero() {
    let cpu = Reference::<f32>::new();
    let x = cpu.upload(&[f32::NEG_INFINITY; 3], &[1, 3]).unwrap();
    let y = cpu.download(&cpu.softmax(&x).unwrap()).unwrap();
    assert_close(&y, &[0.0; 3], Tolerance::EXACT);
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let cpu = Reference::<f32>::new();
    let x = cpu.upload(&[f32::MAX, f32::MAX, f32::MIN], &[3]).unwrap();
    let y = cpu.download(&cpu.softmax(&x).unwrap()).unwrap();
    assert_close(&y, &[0.5, 0.5, 0.0], Tolerance::EXACT);
}

#[test]
fn a_scalar_has_no_rows() {
    let error = check(&[]).unwrap_err();
    assert_eq!(error.to_string(), "softmax: x: shape [], want at least one axis");
}
