//! Whether two results agree: `|got - want| <= atol + rtol * |want|`, with NaN never passing.

use crate::Scalar;

/// How far a result may lie from the wanted one: `atol + rtol * |want|`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// The part that does not depend on the wanted value.
    pub atol: f64,
    /// The part that grows with its magnitude.
    pub rtol: f64,
}

impl Tolerance {
    /// Equal values only: for operations that move elements and round nothing.
    pub const EXACT: Self = Self { atol: 0.0, rtol: 0.0 };
    /// `f64` arithmetic: sums of some thousand terms around 1 lose about three of 16 digits.
    pub const F64: Self = Self { atol: 1e-12, rtol: 1e-12 };
    /// `f32` arithmetic: a unit is 6e-8, and sums of some hundred terms around 1 lose two digits.
    pub const F32: Self = Self { atol: 1e-5, rtol: 1e-5 };
    /// `bf16` operands with `f32` sums: each operand is off by up to 2⁻⁹ of itself.
    pub const BF16: Self = Self { atol: 2e-2, rtol: 1e-2 };

    #[expect(clippy::float_cmp, reason = "infinities agree only with themselves")]
    fn admits(self, got: f64, want: f64) -> bool {
        if got.is_infinite() || want.is_infinite() {
            return got == want;
        }
        (got - want).abs() <= self.atol + self.rtol * want.abs()
    }
}

/// How two results differ.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Mismatch {
    /// They have different lengths.
    #[error("got {got} elements, want {want}")]
    Length {
        /// The number of elements given.
        got: usize,
        /// The number of elements wanted.
        want: usize,
    },
    /// Some elements are further apart than the tolerance allows.
    #[error(
        "{count} of {total} elements differ; the worst, [{index}]: got {got}, want {want}, \
         difference {difference:e}"
    )]
    Elements {
        /// How many elements differ.
        count: usize,
        /// How many there are.
        total: usize,
        /// Where the difference is largest; NaN is larger than any number.
        index: usize,
        /// The element given there.
        got: f64,
        /// The element wanted there.
        want: f64,
        /// `|got - want|` there.
        difference: f64,
    },
}

/// Proves that `got` agrees with `want`, element by element, as `f64`.
///
/// NaN agrees with nothing, not even with NaN; an infinity only with itself.
///
/// ```
/// use latent_kernels::{Tolerance, compare};
/// assert!(compare(&[1.0_f32, 2.0], &[1.0_f64, 2.000_01], Tolerance::F32).is_ok());
/// let error = compare(&[1.0, f64::NAN], &[1.0, f64::NAN], Tolerance::F32).unwrap_err();
/// assert!(error.to_string().starts_with("1 of 2 elements differ; the worst, [1]: got NaN"));
/// ```
///
/// # Errors
/// [`Mismatch::Length`] when one has more elements, [`Mismatch::Elements`] when any differs.
pub fn compare<G: Scalar, W: Scalar>(
    got: &[G],
    want: &[W],
    tolerance: Tolerance,
) -> Result<(), Mismatch> {
    if got.len() != want.len() {
        return Err(Mismatch::Length { got: got.len(), want: want.len() });
    }
    let total = got.len();
    let bad = || {
        let pairs = got.iter().zip(want).map(|(g, w)| (g.as_f64(), w.as_f64()));
        pairs.enumerate().filter(|&(_, (g, w))| !tolerance.admits(g, w))
    };
    // `total_cmp` puts a NaN, whose sign is cleared by `abs`, above every number.
    let distance = |&(_, (g, w)): &(usize, (f64, f64))| (g - w).abs();
    let Some((index, (got, want))) = bad().max_by(|a, b| distance(a).total_cmp(&distance(b)))
    else {
        return Ok(());
    };
    let (count, difference) = (bad().count(), (got - want).abs());
    Err(Mismatch::Elements { count, total, index, got, want, difference })
}

/// Panics with the [`Mismatch`] unless `got` agrees with `want`: [`compare()`] for tests.
///
/// ```should_panic
/// use latent_kernels::{Tolerance, assert_close};
/// assert_close(&[0.1_f32], &[0.2_f32], Tolerance::F32);
/// ```
///
/// # Panics
/// When they do not agree.
#[track_caller]
pub fn assert_close<G: Scalar, W: Scalar>(got: &[G], want: &[W], tolerance: Tolerance) {
    if let Err(mismatch) = compare(got, want, tolerance) {
        panic!("{mismatch}");
    }
}

/// The largest `|got - want|`: 0 for two empty slices or equal infinities, NaN when an element
/// is NaN or the lengths differ, so that no `<` lets it pass.
///
/// ```
/// use latent_kernels::max_difference;
/// assert_eq!(max_difference(&[1.0_f32, 2.0], &[1.5_f64, 2.0]), 0.5);
/// assert!(max_difference(&[1.0], &[1.0, 2.0]).is_nan());
/// ```
#[must_use]
#[expect(clippy::float_cmp, reason = "equal infinities differ by 0")]
pub fn max_difference<G: Scalar, W: Scalar>(got: &[G], want: &[W]) -> f64 {
    if got.len() != want.len() {
        return f64::NAN;
    }
    got.iter()
        .zip(want)
        .map(|(g, w)| (g.as_f64(), w.as_f64()))
        .map(|(g, w)| if g == w { 0.0 } else { (g - w).abs() })
        .fold(0.0, |m, d| if m.is_nan() || m > d { m } else { d })
}
