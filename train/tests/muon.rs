//! Muon: what it makes of singular values, on each backend, and its steps.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use latent_kernels::cpu::Cpu;
use latent_kernels::suite::{Values, assert_threads_change_no_bit, for_some};
use latent_kernels::{
    Backend, KernelError, Reference, RopeTable, Scalar, Tolerance, Weight, assert_close,
};
use latent_train::{
    Array, Assignment, HiddenMatrices, Muon, Optimizer, OptimizerConfig, Parameters, orthogonalise,
};
use proptest::prelude::*;

const HIDDEN: &str = "model.layers.0.self_attn.o_proj.weight";

/// Holds a property of a backend and its tolerance on all that run here.
macro_rules! on_each_backend {
    ($property:ident) => {
        mod $property {
            use super::*;
            #[test]
            fn in_f64() {
                super::$property(&Reference::<f64>::new(), Tolerance::F64);
            }
            #[test]
            fn in_f32() {
                super::$property(&Reference::<f32>::new(), Tolerance::F32);
            }
            #[test]
            fn on_a_processor() {
                super::$property(&Cpu::new(), Tolerance::F32);
            }
        }
    };
}

/// `[rows, cols]` whose rank is at most `rank`: `0` gives zeros.
fn random(seed: u64, [rows, cols]: [usize; 2], rank: usize) -> Vec<f64> {
    let mut values = Values::new(seed);
    let (left, right): (Vec<f64>, Vec<f64>) = (values.draw(rows * rank), values.draw(cols * rank));
    let at = |r: usize, c: usize| (0..rank).map(|k| left[r * rank + k] * right[c * rank + k]).sum();
    (0..rows * cols).map(|i| at(i / cols, i % cols)).collect()
}

fn transposed<T: Scalar>(x: &[T], [rows, cols]: [usize; 2]) -> Vec<T> {
    (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
}

/// The singular values in falling order, `min(rows, cols)` of them, by one-sided Jacobi rotations.
fn singular_values<T: Scalar>(x: &[T], [rows, cols]: [usize; 2]) -> Vec<f64> {
    let wide = if rows > cols { transposed(x, [rows, cols]) } else { x.to_vec() };
    let mut vectors: Vec<Vec<f64>> =
        wide.chunks(rows.max(cols)).map(|row| row.iter().map(|v| v.as_f64()).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    for _ in 0..40 {
        for i in 0..vectors.len() {
            for j in 0..i {
                let (left, right) = vectors.split_at_mut(i);
                let (a, b) = (&mut left[j], &mut right[0]);
                let across = dot(a, b);
                if across != 0.0 {
                    let tilt = (dot(b, b) - dot(a, a)) / (2.0 * across);
                    let tan = tilt.signum() / (tilt.abs() + tilt.hypot(1.0));
                    let cos = 1.0 / tan.hypot(1.0);
                    for (x, y) in a.iter_mut().zip(b) {
                        (*x, *y) = (cos * (*x - tan * *y), cos * (tan * *x + *y));
                    }
                }
            }
        }
    }
    let mut values: Vec<f64> = vectors.iter().map(|v| dot(v, v).sqrt()).collect();
    values.sort_by(|a, b| b.total_cmp(a));
    values
}

#[test]
fn jacobi_finds_known_singular_values() {
    // [[3, 0], [4, 5]] has sqrt(45) and sqrt(5).
    let got = singular_values(&[3.0, 0.0, 4.0, 5.0], [2, 2]);
    assert_close(&got, &[45_f64.sqrt(), 5_f64.sqrt()], Tolerance::F64);
    assert_close(&singular_values(&[3.0, 4.0], [2, 1]), &[5.0], Tolerance::F64);
    assert_close(&singular_values(&[0.0; 6], [3, 2]), &[0.0; 2], Tolerance::EXACT);
}

fn narrowed<T: Scalar>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&v| T::from_f64(v)).collect()
}

fn any_matrix() -> impl Strategy<Value = (u64, [usize; 2], usize)> {
    let axis = prop::sample::select(vec![1_usize, 2, 3, 5, 8, 17, 33]);
    (any::<u64>(), [axis.clone(), axis], 1_usize..40)
}

/// The polynomial of one singular value, relative to the norm.
fn moved(singular_value: f64) -> f64 {
    (0..5).fold(singular_value, |s, _| 3.4445 * s - 4.7750 * s.powi(3) + 2.0315 * s.powi(5))
}

/// Whatever the rank, each singular value goes its own way, and those worth naming come near 1.
fn singular_values_come_near_one<B: Backend>(backend: &B, tolerance: Tolerance) {
    for_some(24, any_matrix(), |(seed, shape, rank)| {
        let x: Vec<B::Scalar> = narrowed(&random(seed, shape, rank));
        let y = orthogonalise(backend, &x, shape).unwrap();
        let before = singular_values(&x, shape);
        let norm = before.iter().map(|s| s * s).sum::<f64>().sqrt();
        let mut want: Vec<f64> = before.iter().map(|s| moved(s / norm)).collect();
        want.sort_by(|a, b| b.total_cmp(a));
        let after = singular_values(&y, shape);
        // What rounding leaves of a singular value of 0 grows by 3.4445^5, 485.
        let tolerance = Tolerance { atol: 50.0 * tolerance.atol, rtol: tolerance.rtol };
        assert_close(&after, &want, tolerance);
        let named = before.iter().filter(|&&s| s > 0.002 * norm).count();
        assert!(after[..named].iter().all(|s| (0.6..1.3).contains(s)), "{after:?}");
    });
}
on_each_backend!(singular_values_come_near_one);

/// Singular vectors stay: `Xᵀ Y` is symmetric, as `V S f(S) Vᵀ` is.
fn singular_vectors_stay<B: Backend>(backend: &B, tolerance: Tolerance) {
    for shape in [[3, 3], [5, 17], [17, 5]] {
        let x: Vec<B::Scalar> = narrowed(&random(2, shape, 17));
        let y = orthogonalise(backend, &x, shape).unwrap();
        let [rows, cols] = shape;
        let at = |i: usize, j: usize| -> f64 {
            (0..rows).map(|r| x[r * cols + i].as_f64() * y[r * cols + j].as_f64()).sum()
        };
        let product: Vec<f64> = (0..cols * cols).map(|k| at(k / cols, k % cols)).collect();
        let tolerance = Tolerance { atol: 10.0 * tolerance.atol, ..tolerance };
        assert_close(&product, &transposed(&product, [cols, cols]), tolerance);
        let trace: f64 = (0..cols).map(|i| product[i * cols + i]).sum();
        assert!(trace > 0.0, "the sign stays too");
    }
}
on_each_backend!(singular_vectors_stay);

fn transposition_commutes<B: Backend>(backend: &B, tolerance: Tolerance) {
    for_some(24, any_matrix(), |(seed, [rows, cols], rank)| {
        let x: Vec<B::Scalar> = narrowed(&random(seed, [rows, cols], rank));
        let y = orthogonalise(backend, &x, [rows, cols]).unwrap();
        let of_transposed =
            orthogonalise(backend, &transposed(&x, [rows, cols]), [cols, rows]).unwrap();
        let tolerance = Tolerance { atol: 50.0 * tolerance.atol, ..tolerance };
        assert_close(&of_transposed, &transposed(&y, [rows, cols]), tolerance);
    });
}
on_each_backend!(transposition_commutes);

/// A power of two changes no bit, down to the norm of 1e-7; below, a matrix fades to zeros.
fn a_factor_changes_nothing<B: Backend>(backend: &B, _: Tolerance) {
    let shape = [5, 8];
    let x: Vec<B::Scalar> = narrowed(&random(4, shape, 8));
    let scaled = |power: i32| -> Vec<B::Scalar> {
        x.iter().map(|&v| v * B::Scalar::from_f64(2_f64.powi(power))).collect()
    };
    let y = orthogonalise(backend, &x, shape).unwrap();
    for power in [-20, 7, 100] {
        let of_scaled = orthogonalise(backend, &scaled(power), shape).unwrap();
        assert_close(&of_scaled, &y, Tolerance::EXACT);
    }
    let faint = orthogonalise(backend, &scaled(-100), shape).unwrap();
    assert!(faint.iter().all(|v| v.as_f64().abs() < 1e-15), "{faint:?}");
}
on_each_backend!(a_factor_changes_nothing);

fn zeros_give_zeros<B: Backend>(backend: &B, _: Tolerance) {
    for [rows, cols] in [[0, 0], [0, 3], [3, 0], [1, 1], [4, 7], [7, 4]] {
        let zeros = vec![B::Scalar::default(); rows * cols];
        let y = orthogonalise(backend, &zeros, [rows, cols]).unwrap();
        assert_close(&y, &zeros, Tolerance::EXACT);
    }
}
on_each_backend!(zeros_give_zeros);

#[test]
fn the_smallest_and_largest_elements_are_no_trouble() {
    let backend = Reference::<f64>::new();
    let x: Vec<f64> = random(4, [2, 3], 2);
    let huge: Vec<f64> = x.iter().map(|v| v * 1e300).collect();
    let y = orthogonalise(&backend, &x, [2, 3]).unwrap();
    assert_close(&orthogonalise(&backend, &huge, [2, 3]).unwrap(), &y, Tolerance::F64);
    let tiny = orthogonalise(&backend, &[5e-324; 6], [2, 3]).unwrap();
    assert!(tiny.iter().all(|v| v.abs() < 1e-300));
}

#[test]
fn a_wrong_number_of_elements_is_a_shape_error() {
    let backend = Reference::<f64>::new();
    for shape in [[2, 2], [usize::MAX, 2]] {
        let error = orthogonalise(&backend, &[1.0; 3], shape).unwrap_err();
        assert!(matches!(error, KernelError::Shape { .. }), "{error}");
    }
}

fn config() -> OptimizerConfig {
    let hidden_matrices = HiddenMatrices::Muon;
    let assignment = Assignment { hidden_matrices, ..Assignment::default() };
    OptimizerConfig { assignment, ..OptimizerConfig::default() }
}

fn hidden<T: Scalar>(shape: [usize; 2], values: &[f64]) -> Parameters<T> {
    let mut parameters = Parameters::default();
    parameters.insert(HIDDEN, Array::new(&shape, narrowed(values)).unwrap());
    parameters
}

fn values<T: Scalar>(parameters: &Parameters<T>) -> &[T] {
    parameters.get(HIDDEN).unwrap().values()
}

/// An array of `steps.txt`.
fn known(name: &str) -> Vec<f64> {
    let line = include_str!("data/steps.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap();
    line.split(' ').map(|v| v.parse().unwrap()).collect()
}

/// The momentum there is a sum, as in the paper.
fn steps_are_those_of_sixty_digits<B: Backend>(backend: &B, tolerance: Tolerance) {
    for shape in [[2, 3], [3, 2]] {
        let stored = |name: &str| {
            let x = known(name);
            if shape == [2, 3] { x } else { transposed(&x, [2, 3]) }
        };
        let mut weights = hidden::<B::Scalar>(shape, &stored("muon.parameter"));
        let mut optimizer = Optimizer::new(config(), &weights).unwrap();
        for step in 1..=3 {
            let gradient = hidden(shape, &stored(&format!("muon.gradient.{step}")));
            optimizer.step(backend, &mut weights, &gradient, 1e-2).unwrap();
            assert_close(values(&weights), &stored(&format!("muon.after.{step}")), tolerance);
        }
    }
}
on_each_backend!(steps_are_those_of_sixty_digits);

#[test]
fn a_step_has_the_root_mean_square_of_adamw() {
    let config =
        OptimizerConfig { muon: Muon { weight_decay: 0.0, ..Muon::default() }, ..config() };
    for shape in [[4, 4], [3, 33], [33, 3]] {
        let [rows, cols] = shape;
        let mut weights = hidden::<f64>(shape, &vec![0.0; rows * cols]);
        let mut optimizer = Optimizer::new(config, &weights).unwrap();
        // Equal singular values, in the first columns or rows.
        let diagonal: Vec<f64> =
            (0..rows * cols).map(|i| f64::from(u8::from(i / cols == i % cols))).collect();
        optimizer.step(&Reference::new(), &mut weights, &hidden(shape, &diagonal), 0.1).unwrap();
        let squares = values(&weights).iter().map(|v| v * v).sum::<f64>();
        let rms = (squares / (rows * cols) as f64).sqrt();
        let near_one = moved(1.0 / (rows.min(cols) as f64).sqrt());
        assert_close(&[rms], &[0.1 * 0.2 * near_one], Tolerance::F64);
        assert!(values(&weights)[0] < 0.0, "against the gradient");
    }
}

#[test]
fn zero_gradient_moves_by_decay_alone() {
    let mut weights = hidden::<f32>([1, 2], &[2.0, -4.0]);
    let mut optimizer = Optimizer::new(config(), &weights).unwrap();
    let zeros = hidden([1, 2], &[0.0; 2]);
    optimizer.step(&Cpu::new(), &mut weights, &zeros, 0.5).unwrap();
    assert_close(values(&weights), &[1.9, -3.8], Tolerance { atol: 0.0, rtol: 1e-7 });
}

#[test]
fn threads_change_no_bit() {
    let shape = [33, 65];
    let (start, gradient) = (random(1, shape, 33), random(2, shape, 33));
    assert_threads_change_no_bit(|| {
        let mut weights = hidden::<f32>(shape, &start);
        let mut optimizer = Optimizer::new(config(), &weights).unwrap();
        let gradient = hidden(shape, &gradient);
        optimizer.step(&Reference::new(), &mut weights, &gradient, 0.1).unwrap();
        values(&weights).to_vec()
    });
}

type Tensor = <Reference<f64> as Backend>::Tensor;
type Outcome<T> = Result<T, KernelError>;

/// The reference, until it has done so many products.
#[derive(Debug, Clone)]
struct Failing(Arc<AtomicUsize>);

const UNUSED: &str = "Muon does nothing but products";

impl Backend for Failing {
    type Scalar = f64;
    type Tensor = Tensor;
    type Matrix = Weight;

    fn name(&self) -> String {
        "failing".into()
    }
    fn upload(&self, values: &[f64], shape: &[usize]) -> Outcome<Tensor> {
        Reference::new().upload(values, shape)
    }
    fn download(&self, x: &Tensor) -> Outcome<Vec<f64>> {
        Reference::new().download(x)
    }
    fn matrix(&self, weight: Weight) -> Outcome<Weight> {
        Ok(weight)
    }
    fn linear(&self, x: &Tensor, w: &Weight) -> Outcome<Tensor> {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            let (name, reason) = ("linear".into(), "unplugged".into());
            return Err(KernelError::DeviceFailed { name, reason });
        }
        Reference::new().linear(x, w)
    }
    fn reshape(&self, _: Tensor, _: &[usize]) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn rms_norm(&self, _: &Tensor, _: &Tensor, _: f64) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn rope(&self, _: &Tensor, _: &RopeTable, _: &[usize]) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn softmax(&self, _: &Tensor) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn swiglu(&self, _: &Tensor, _: &Tensor) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn gather(&self, _: &Weight, _: &[u32]) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn add(&self, _: &Tensor, _: &Tensor) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn split_columns(&self, _: &Tensor, _: usize) -> Outcome<(Tensor, Tensor)> {
        unreachable!("{UNUSED}")
    }
    fn join_columns(&self, _: &Tensor, _: &Tensor) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn select_rows(&self, _: &Tensor, _: &[usize]) -> Outcome<Tensor> {
        unreachable!("{UNUSED}")
    }
    fn argmax(&self, _: &Tensor) -> Outcome<Vec<Option<u32>>> {
        unreachable!("{UNUSED}")
    }
    fn draw(&self, _: &Tensor, _: f64, _: &[f64]) -> Outcome<Vec<Option<u32>>> {
        unreachable!("{UNUSED}")
    }
}

#[test]
fn a_device_that_fails_midway_leaves_all_as_it_was() {
    let mut weights = hidden::<f64>([2, 3], &random(1, [2, 3], 2));
    for name in ["a.down_proj.weight", "z.up_proj.weight"] {
        weights.insert(name, Array::new(&[2, 3], random(2, [2, 3], 2)).unwrap());
    }
    let (start, gradients) = (weights.clone(), weights.clone());
    let mut optimizer = Optimizer::new(config(), &weights).unwrap();
    let fresh = optimizer.clone();
    // Fifteen products a matrix: the first is done, the second begun.
    let backend = Failing(Arc::new(AtomicUsize::new(17)));
    let error = optimizer.step(&backend, &mut weights, &gradients, 0.1).unwrap_err();
    assert_eq!(error.to_string(), "linear: the device failed: unplugged");
    assert_eq!((weights, optimizer), (start, fresh));
}
