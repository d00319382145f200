//! Splitting, joining and selecting: values checked by hand.

use latent_kernels::columns::{check_join, check_select, check_split};
use latent_kernels::{Backend, KernelError, Reference, Tensor, Tolerance, assert_close};

#[test]
fn columns_are_cut_in_every_row() {
    let cpu = Reference::<f32>::new();
    let x = cpu.upload(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]).unwrap();
    let (a, b) = cpu.split_columns(&x, 1).unwrap();
    assert_close(&cpu.download(&a).unwrap(), &[1.0, 4.0], Tolerance::EXACT);
    assert_close(&cpu.download(&b).unwrap(), &[2.0, 3.0, 5.0, 6.0], Tolerance::EXACT);
    let swapped = cpu.download(&cpu.join_columns(&b, &a).unwrap()).unwrap();
    assert_close(&swapped, &[2.0, 3.0, 1.0, 5.0, 6.0, 4.0], Tolerance::EXACT);
}

#[test]
fn a_selection_may_repeat_and_be_empty() {
    let cpu = Reference::<f32>::new();
    let x = cpu.upload(&[1.0, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let y = cpu.download(&cpu.select_rows(&x, &[1, 1, 0]).unwrap()).unwrap();
    assert_close(&y, &[3.0, 4.0, 3.0, 4.0, 1.0, 2.0], Tolerance::EXACT);
    assert_eq!(Tensor::shape(&cpu.select_rows(&x, &[]).unwrap()), [0, 2]);
}

#[test]
fn errors_name_the_argument() {
    let split = check_split(&[2, 3], 4).unwrap_err();
    assert_eq!(split.to_string(), "split: x: shape [2, 3], want at least 4 columns");
    let join = check_join(&[2, 3], &[3, 3]).unwrap_err();
    assert_eq!(join.to_string(), "join: b: shape [3, 3], a has shape [2, 3]");
    let select = check_select(&[2, 3], &[1, 2]).unwrap_err();
    assert_eq!(select.to_string(), "select: rows: index 2, want one below 2");
}

#[test]
fn a_width_beyond_all_memory_is_an_error_also_without_rows() {
    let cpu = Reference::<f32>::new();
    let widest = cpu.upload(&[], &[0, usize::MAX / 2]).unwrap();
    let found = cpu.join_columns(&widest, &widest);
    assert!(matches!(found, Err(KernelError::Shape { .. })), "{found:?}");
}
