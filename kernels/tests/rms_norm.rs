//! Root-mean-square norm: values checked by hand.

use latent_kernels::rms_norm::check;
use latent_kernels::{Backend, Reference, Tolerance, assert_close};

#[test]
fn three_and_four_have_a_mean_square_of_twelve_and_a_half() {
    let cpu = Reference::<f64>::new();
    let x = cpu.upload(&[3.0, 4.0, 0.0, 0.0], &[2, 2]).unwrap();
    let gain = cpu.upload(&[1.0, 10.0], &[2]).unwrap();
    let y = cpu.download(&cpu.rms_norm(&x, &gain, 1e-12).unwrap()).unwrap();
    let root = 12.5_f64.sqrt();
    assert_close(&y, &[3.0 / root, 40.0 / root, 0.0, 0.0], Tolerance::F64);
}

#[test]
fn eps_is_added_to_the_mean_under_the_root() {
    let cpu = Reference::<f64>::new();
    let x = cpu.upload(&[3.0, -1.0], &[1, 2]).unwrap();
    let gain = cpu.upload(&[1.0, 1.0], &[2]).unwrap();
    let y = cpu.download(&cpu.rms_norm(&x, &gain, 4.0).unwrap()).unwrap();
    assert_close(&y, &[1.0, -1.0 / 3.0], Tolerance::F64);
}

#[test]
fn a_mean_over_a_long_row_of_f32_keeps_its_digits() {
    let cpu = Reference::<f32>::new();
    let n = 1 << 18;
    let x = cpu.upload(&vec![0.1; n], &[1, n]).unwrap();
    let gain = cpu.upload(&vec![1.0; n], &[n]).unwrap();
    let y = cpu.download(&cpu.rms_norm(&x, &gain, 1e-12).unwrap()).unwrap();
    assert_close(&y, &vec![1.0; n], Tolerance { atol: 0.0, rtol: 1e-4 });
}

#[test]
fn errors_name_the_argument() {
    let error = check(&[2, 3], &[2], 1e-6).unwrap_err();
    assert_eq!(error.to_string(), "rms_norm: gain: shape [2], x has shape [2, 3]");
    let error = check(&[2, 3], &[3], 0.0).unwrap_err();
    assert_eq!(error.to_string(), "rms_norm: eps: got 0, want a number above 0 in f32");
}
