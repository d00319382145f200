//! Linear maps: the problem, and values checked by hand.

use latent_kernels::linear::Problem;
use latent_kernels::{Backend, BlockScale, Dtype, Reference, Tolerance, Weight, assert_close};

#[test]
fn a_problem_knows_its_shapes() {
    let problem = Problem::new(&[2, 3, 5], [7, 5]).unwrap();
    assert_eq!((problem.rows(), problem.y_shape()), (6, vec![2, 3, 7]));
    assert_eq!(Problem::new(&[5], [7, 5]).unwrap().y_shape(), [7]);
    assert_eq!(Problem::new(&[0, 5], [7, 5]).unwrap().rows(), 0);
}

#[test]
fn a_problem_that_does_not_fit_says_what_it_wants() {
    let error = Problem::new(&[2, 5], [5, 7]).unwrap_err();
    assert_eq!(error.to_string(), "linear: x: shape [2, 5], want [.., 7]");
    assert!(Problem::new(&[], [7, 5]).is_err());
}

#[test]
fn a_problem_that_no_memory_holds_is_an_error() {
    let error = Problem::new(&[usize::MAX, 0], [2, 0]).unwrap_err();
    assert!(error.to_string().ends_with("too large for 2 outputs a row"), "{error}");
    assert!(Problem::new(&[usize::MAX, 2, 0], [1, 0]).is_err());
    assert_eq!(Problem::new(&[usize::MAX, 0], [0, 0]).unwrap().y_shape(), [usize::MAX, 0]);
}

#[test]
fn fp8_blocks_are_multiplied_as_stored() {
    // Ones in blocks of 2 x 2 over 3 x 3, scales 1, 10, 100, 1000.
    let scale = BlockScale { block: [2, 2], values: vec![1.0, 10.0, 100.0, 1000.0] };
    let w = Weight::new(Dtype::F8E4m3, [3, 3], vec![0x38; 9].into(), Some(scale)).unwrap();
    let cpu = Reference::<f64>::new();
    let x = cpu.upload(&[1.0, 2.0, 3.0], &[1, 3]).unwrap();
    let y = cpu.linear(&x, &cpu.matrix(w).unwrap()).unwrap();
    assert_close(&cpu.download(&y).unwrap(), &[33.0, 33.0, 3300.0], Tolerance::EXACT);
}

#[test]
fn long_sums_in_f32_stay_within_tolerance() {
    // Partial sums of 16 lanes: one running sum of 2^20 tenths would be off by 1 %.
    let n = 1 << 20;
    let cpu = Reference::<f32>::new();
    let w = cpu.matrix(Weight::encode(Dtype::F32, [1, n], &vec![0.1_f32; n]).unwrap()).unwrap();
    let x = cpu.upload(&vec![1.0; n], &[1, n]).unwrap();
    let y = cpu.download(&cpu.linear(&x, &w).unwrap()).unwrap();
    let want = n as f64 * f64::from(0.1_f32);
    assert_close(&y, &[want], Tolerance { atol: 0.0, rtol: 1e-3 });
}
