//! SwiGLU: values checked by hand.

use latent_kernels::swiglu::check;
use latent_kernels::{Backend, Reference, Tolerance, assert_close};

#[test]
fn a_gate_of_ln_3_passes_three_quarters_of_itself() {
    let cpu = Reference::<f64>::new();
    let ln_3 = 3.0_f64.ln();
    let gate = cpu.upload(&[ln_3, -ln_3, 0.0], &[3]).unwrap();
    let up = cpu.upload(&[4.0, 4.0, 4.0], &[3]).unwrap();
    let y = cpu.download(&cpu.swiglu(&gate, &up).unwrap()).unwrap();
    assert_close(&y, &[3.0 * ln_3, -ln_3, 0.0], Tolerance::F64);
}

#[test]
fn a_gate_far_below_zero_is_closed_not_nan() {
    let cpu = Reference::<f32>::new();
    let gate = cpu.upload(&[-100.0, f32::MIN, f32::NEG_INFINITY], &[3]).unwrap();
    let up = cpu.upload(&[1.0; 3], &[3]).unwrap();
    let y = cpu.download(&cpu.swiglu(&gate, &up).unwrap()).unwrap();
    assert_close(&y, &[0.0; 3], Tolerance { atol: 1e-35, rtol: 0.0 });
}

#[test]
fn the_error_names_both_shapes() {
    let error = check(&[2, 3], &[3]).unwrap_err();
    assert_eq!(error.to_string(), "swiglu: up: shape [3], gate has shape [2, 3]");
}
