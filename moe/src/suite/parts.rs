//! How results are compared and inputs are drawn.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use latent_kernels::Scalar;

/// How far a result may lie from the wanted one: `atol + rtol * |want|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// The part that does not depend on the wanted value.
    pub atol: f64,
    /// The part that grows with its magnitude.
    pub rtol: f64,
}

impl Tolerance {
    /// `f64` arithmetic.
    pub const F64: Self = Self { atol: 1e-12, rtol: 1e-12 };
    /// `f32` arithmetic.
    pub const F32: Self = Self { atol: 1e-5, rtol: 1e-5 };
}

/// Panics unless `got` agrees with `want`; NaN agrees with nothing.
#[track_caller]
pub(super) fn assert_close<G: Scalar, W: Scalar>(got: &[G], want: &[W], tolerance: Tolerance) {
    assert_eq!(got.len(), want.len(), "number of elements");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let (g, w) = (g.as_f64(), w.as_f64());
        let close = (g - w).abs() <= tolerance.atol + tolerance.rtol * w.abs();
        assert!(close && w.is_finite(), "[{i}]: got {g}, want {w}");
    }
}

/// Proves that two results have the same bits.
#[track_caller]
pub(super) fn assert_same_bits<T: Scalar>(got: &[T], want: &[T]) {
    assert_eq!(got.len(), want.len(), "number of elements");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let same = g.as_f64().to_bits() == w.as_f64().to_bits();
        assert!(same, "[{i}]: got {g:e}, want {w:e}: other bits");
    }
}

/// Proves that `operation` gives the same bits on one thread and on three.
#[track_caller]
pub(super) fn assert_threads_change_no_bit<T: Scalar>(operation: impl Fn() -> Vec<T> + Sync) {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("a pool of threads").install(&operation)
    };
    assert_same_bits(&on(3), &on(1));
}

/// Holds `property` for inputs drawn from `inputs`: 48 of them, the same in every run.
pub(super) fn for_all<S: Strategy>(inputs: S, property: impl Fn(S::Value)) {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&inputs, |input| {
        property(input);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A stream of random values, fixed by its seed.
pub(super) struct Values(ChaCha8Rng);

impl Values {
    pub(super) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// The next `n` values, uniform in `[-1, 1)` and rounded to `T`.
    pub(super) fn draw<T: Scalar>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::from_f64(self.0.random_range(-1.0..1.0))).collect()
    }
}
