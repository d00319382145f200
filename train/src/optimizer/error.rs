//! What can go wrong in a step, by cause.

use latent_kernels::KernelError;

/// An error of an optimiser, of clipping or of a schedule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptimError {
    /// A setting is outside of the range in which it means something.
    #[error("{name}: got {found}, want {wanted}")]
    Setting {
        /// The setting, as in `adamw.beta1`.
        name: &'static str,
        /// Its value.
        found: String,
        /// The range.
        wanted: String,
    },
    /// A tensor that has to be there is not.
    #[error("{name}: no {what}, want one; where nothing was learnt it is zeros, not absent")]
    Missing {
        /// What is missing: a `gradient`, a `parameter`, or a part of the state as in `exp_avg`.
        what: &'static str,
        /// The tensor.
        name: String,
    },
    /// There is an array for a tensor that wants none: an unknown name, or one that is not trained.
    #[error("{name}: found a {what}, want none: no trained tensor has this name and optimiser")]
    Unwanted {
        /// What was found: a `gradient`, or a part of the state as in `exp_avg`.
        what: &'static str,
        /// The tensor.
        name: String,
    },
    /// An array does not have the shape of its parameter.
    #[error("{name}: {what} has shape {found:?}, its parameter {wanted:?}")]
    Shape {
        /// What was found: a `gradient`, or a part of the state as in `exp_avg`.
        what: &'static str,
        /// The tensor.
        name: String,
        /// The shape given.
        found: Vec<usize>,
        /// The parameter's shape.
        wanted: Vec<usize>,
    },
    /// An element is NaN, infinite, or otherwise not usable.
    #[error("{name}: {what}[{index}] is {found}, want {wanted}")]
    Value {
        /// What was found: a `gradient`, or a part of the state as in `exp_avg`.
        what: &'static str,
        /// The tensor.
        name: String,
        /// Where the first such element lies, row by row.
        index: usize,
        /// The element.
        found: f64,
        /// What an element has to be.
        wanted: &'static str,
    },
    /// Elements are finite, and the sum of their squares is not.
    #[error("{name}: the squares of the gradient sum to {found}, want a finite sum")]
    Norm {
        /// The tensor at which the sum over all tensors stopped being finite.
        name: String,
        /// The sum.
        found: f64,
    },
    /// A product of matrices failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Proves that a setting is a finite number of at least 0.
pub(crate) fn not_negative(name: &'static str, value: f64) -> Result<(), OptimError> {
    wanted(value >= 0.0 && value.is_finite(), name, value, "a finite number of at least 0")
}

/// Proves that a setting is a number of `[0, 1)`.
pub(crate) fn below_one(name: &'static str, value: f64) -> Result<(), OptimError> {
    wanted((0.0..1.0).contains(&value), name, value, "a number of at least 0 and below 1")
}

/// Passes where `holds`, and says what is wanted where not.
pub(crate) fn wanted(
    holds: bool,
    name: &'static str,
    found: impl ToString,
    wanted: impl Into<String>,
) -> Result<(), OptimError> {
    if holds {
        return Ok(());
    }
    Err(OptimError::Setting { name, found: found.to_string(), wanted: wanted.into() })
}
