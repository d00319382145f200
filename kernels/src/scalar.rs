//! The element types in which a backend computes.

use std::fmt::{Debug, Display};

use ndarray::NdFloat;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`: what activations are computed in.
///
/// ```
/// use latent_kernels::Scalar;
/// fn half<T: Scalar>(x: T) -> T { x * T::from_f64(0.5) }
/// assert_eq!(half(3.0_f32), 1.5);
/// assert_eq!(half(3.0_f64), 1.5);
/// ```
pub trait Scalar: NdFloat + Default + Display + Debug + sealed::Sealed {
    /// The name of the type as users write it, `f32` or `f64`.
    const NAME: &'static str;
    /// The size of one element.
    const BYTES: usize;

    /// Rounds `x` to this type.
    fn from_f64(x: f64) -> Self;
    /// Widens or keeps `x`.
    fn from_f32(x: f32) -> Self;
    /// Widens or keeps the value.
    fn as_f64(self) -> f64;
}

impl Scalar for f32 {
    const NAME: &'static str = "f32";
    const BYTES: usize = 4;

    #[expect(clippy::cast_possible_truncation, reason = "rounding is what the function is for")]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    fn from_f32(x: f32) -> Self {
        x
    }
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Scalar for f64 {
    const NAME: &'static str = "f64";
    const BYTES: usize = 8;

    fn from_f64(x: f64) -> Self {
        x
    }
    fn from_f32(x: f32) -> Self {
        f64::from(x)
    }
    fn as_f64(self) -> f64 {
        self
    }
}
