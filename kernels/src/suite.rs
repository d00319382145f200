//! The properties that every backend has, to be stamped with [`backend_suite!`](crate::backend_suite!).
//!
//! Each property is a function of a backend and its tolerance, and panics with a small input where
//! the backend breaks it. What is expected is computed here in `f64`, by the formula, on plain
//! vectors whose values were rounded to the backend's scalar first: never by another backend.
//! Sizes are small, odd, and lie around the edges of tiles, 0 and 1 among them.
//!
//! Crates that add operations to a backend write their properties with the same parts: [`for_all`],
//! [`size`], [`storage`], [`Values`], [`assert_rows_stand_alone`], [`assert_threads_change_no_bit`].

#![expect(clippy::missing_panics_doc, reason = "a property panics where it does not hold")]

use std::fmt::{Debug, Display};
use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Backend, Dtype, KernelError, Scalar, Weight};

pub mod add;
pub mod argmax;
pub mod backward;
pub mod columns;
pub mod differences;
pub mod draw;
pub mod gather;
pub mod linear;
pub mod rms_norm;
pub mod rope;
pub mod softmax;
pub mod swiglu;
pub mod transfer;

/// Holds `property` for inputs drawn from `inputs`: 48 of them, the same in every run.
///
/// # Panics
/// With the smallest input found for which `property` panics.
pub fn for_all<S: Strategy>(inputs: S, property: impl Fn(S::Value)) {
    for_some(48, inputs, property);
}

/// Holds `property` for so many inputs drawn from `inputs`: fewer, where each takes long.
///
/// # Panics
/// With the smallest input found for which `property` panics.
pub fn for_some<S: Strategy>(cases: u32, inputs: S, property: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&inputs, |input| {
        property(input);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// The length of an axis: 0, 1, odd ones, and those around 16 and 64.
pub fn size() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![0, 1, 2, 3, 5, 7, 15, 16, 17, 31, 63, 64, 65])
}

/// The number of rows of a batch, none among them.
pub fn batch() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![0, 1, 2, 3, 5, 17])
}

/// How a weight is stored: its dtype, and its blocks where it has scales.
#[derive(Debug, Clone, Copy)]
pub struct Storage {
    /// The element type.
    pub dtype: Dtype,
    /// Rows and columns of a block of an FP8 or whole-number weight.
    pub block: Option<[usize; 2]>,
}

impl Storage {
    /// A weight of `shape` stored in this way, its values uniform in `[-1, 1)` before rounding.
    ///
    /// # Panics
    /// Where `shape` overflows.
    #[must_use]
    pub fn weight(self, [rows, cols]: [usize; 2], values: &mut Values) -> Weight {
        let values: Vec<f64> = values.draw(rows * cols);
        match self.block {
            Some(block) if self.dtype == Dtype::I8 => {
                Weight::quantize_i8([rows, cols], &values, block)
            }
            Some(block) => Weight::quantize_e4m3([rows, cols], &values, block),
            None => Weight::encode(self.dtype, [rows, cols], &values),
        }
        .expect("as many values as the shape has")
    }
}

/// Every way to store a weight: each dtype, and FP8 and whole numbers in blocks smaller and larger
/// than a matrix.
pub fn storage() -> impl Strategy<Value = Storage> {
    let plain = [Dtype::F32, Dtype::F64, Dtype::F16, Dtype::Bf16, Dtype::F8E4m3]
        .map(|dtype| Storage { dtype, block: None });
    let blocks = [[16, 16], [1, 7], [5, 3], [128, 128]]
        .map(|block| Storage { dtype: Dtype::F8E4m3, block: Some(block) });
    let whole = [[1, 64], [16, 16]].map(|block| Storage { dtype: Dtype::I8, block: Some(block) });
    prop::sample::select([&plain[..], &blocks[..], &whole[..]].concat())
}

/// A stream of random values, fixed by its seed.
///
/// ```
/// use latent_kernels::suite::Values;
/// let x: Vec<f32> = Values::new(7).draw(3);
/// assert_eq!(x, Values::new(7).draw::<f32>(3));
/// assert!(x.iter().all(|v| v.abs() <= 1.0));
/// ```
#[derive(Debug, Clone)]
pub struct Values(ChaCha8Rng);

impl Values {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The next `n` values, uniform in `[-1, 1)` and rounded to `T`.
    pub fn draw<T: Scalar>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::from_f64(self.0.random_range(-1.0..1.0))).collect()
    }

    /// The next `n` indices below `limit`.
    ///
    /// # Panics
    /// When `limit` is 0 and `n` is not.
    pub fn indices(&mut self, n: usize, limit: usize) -> Vec<usize> {
        (0..n).map(|_| self.0.random_range(0..limit)).collect()
    }
}

/// The values as `f64`.
pub fn wide<T: Scalar>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| v.as_f64()).collect()
}

/// Copies `values`, rounded to the backend's scalar, to the backend.
///
/// # Panics
/// When the backend refuses them.
pub fn upload<B: Backend>(backend: &B, values: &[f64], shape: &[usize]) -> B::Tensor {
    let values: Vec<B::Scalar> = values.iter().map(|&v| Scalar::from_f64(v)).collect();
    done(backend.upload(&values, shape))
}

/// The elements of the result of an operation.
///
/// # Panics
/// When there is none.
#[track_caller]
pub fn download<B: Backend, E: Display>(
    backend: &B,
    result: Result<B::Tensor, E>,
) -> Vec<B::Scalar> {
    done(backend.download(&done(result)))
}

/// The result of an operation that must have one.
///
/// # Panics
/// With the error when there is none.
#[track_caller]
pub fn done<T, E: Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Proves that two results have the same bits; any NaN equals any other.
///
/// # Panics
/// At the first element that differs.
#[track_caller]
pub fn assert_same_bits<T: Scalar>(got: &[T], want: &[T]) {
    assert_eq!(got.len(), want.len(), "number of elements");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g.as_f64().to_bits() == w.as_f64().to_bits() || (g.is_nan() && w.is_nan());
        assert!(same, "[{i}]: got {g:e}, want {w:e}: other bits");
    }
}

/// Proves that `operation`, which works on the rows of a batch named by its argument, gives every
/// row the same bits alone, in half a batch, and in the whole batch of `rows`.
///
/// # Panics
/// When a row depends on its neighbours.
#[track_caller]
pub fn assert_rows_stand_alone<T: Scalar>(rows: usize, operation: impl Fn(Range<usize>) -> Vec<T>) {
    let whole = operation(0..rows);
    let alone: Vec<T> = (0..rows).flat_map(|row| operation(row..row + 1)).collect();
    assert_same_bits(&alone, &whole);
    let halves = [operation(0..rows / 2), operation(rows / 2..rows)].concat();
    assert_same_bits(&halves, &whole);
}

/// Proves that `operation` gives the same bits on one thread and on three.
///
/// # Panics
/// When it does not, or no threads can be had.
#[track_caller]
pub fn assert_threads_change_no_bit<T: Scalar>(operation: impl Fn() -> Vec<T> + Sync) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool of threads").install(&operation)
    };
    assert_same_bits(&on(3), &on(1));
}

/// Proves that an operation refuses its arguments by an error of the given kind.
///
/// # Panics
/// When it gives a result or another error.
#[track_caller]
pub fn assert_error<T>(result: Result<T, KernelError>, kind: impl Fn(&KernelError) -> bool)
where
    T: Debug,
{
    match result {
        Err(error) if kind(&error) => {}
        other => panic!("want an error of another kind, got {other:?}"),
    }
}

/// Whether an error is [`KernelError::Shape`].
#[must_use]
pub fn is_shape(error: &KernelError) -> bool {
    matches!(error, KernelError::Shape { .. })
}

/// Whether an error is [`KernelError::Index`].
#[must_use]
pub fn is_index(error: &KernelError) -> bool {
    matches!(error, KernelError::Index { .. })
}

/// `width` columns of uniform values for each of `rows` rows, one row of them hostile: NaN, ∞,
/// -∞, or huge.
fn with_one_hostile_row<T: Scalar>(rows: usize, width: usize, seed: u64) -> Vec<T> {
    let mut values = Values::new(seed);
    let mut x: Vec<T> = values.draw(rows * width);
    if rows > 0 {
        let kind = [T::nan(), T::infinity(), T::neg_infinity(), T::max_value()];
        let hostile = kind[usize::try_from(seed % 4).expect("below 4")];
        let row = values.indices(1, rows)[0];
        x[row * width..(row + 1) * width].fill(hostile);
    }
    x
}
