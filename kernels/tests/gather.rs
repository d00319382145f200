//! Gathering rows: values checked by hand.

use latent_kernels::gather::check;
use latent_kernels::{Backend, Dtype, Reference, Tensor, Tolerance, Weight, assert_close};

#[test]
fn ids_may_repeat_and_come_in_any_order() {
    let cpu = Reference::<f32>::new();
    let w = Weight::encode(Dtype::F16, [3, 2], &[0.0_f32, 1.0, 10.0, 11.0, 20.0, 21.0]).unwrap();
    let y = cpu.gather(&cpu.matrix(w).unwrap(), &[2, 0, 2]).unwrap();
    let want = [20.0, 21.0, 0.0, 1.0, 20.0, 21.0];
    assert_close(&cpu.download(&y).unwrap(), &want, Tolerance::EXACT);
}

#[test]
fn no_ids_give_no_rows() {
    let cpu = Reference::<f32>::new();
    let w = Weight::encode(Dtype::F32, [1, 5], &[0.0_f32; 5]).unwrap();
    assert_eq!(Tensor::shape(&cpu.gather(&cpu.matrix(w).unwrap(), &[]).unwrap()), [0, 5]);
}

#[test]
fn the_error_names_the_first_bad_id() {
    let error = check(3, &[0, 2, 7, 9]).unwrap_err();
    assert_eq!(error.to_string(), "gather: ids: index 7, want one below 3");
    assert!(check(0, &[]).is_ok());
}
