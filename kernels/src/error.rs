//! What can go wrong in a primitive, by cause.

use crate::Dtype;

/// An error of the primitives and the backends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// An array does not have the shape that the operation wants.
    #[error("{name}: shape {found:?}, {wanted}")]
    Shape {
        /// The operation and its argument, as in `linear: x`.
        name: String,
        /// The shape that was given.
        found: Vec<usize>,
        /// What the operation wants, as in `want [token, 80]`.
        wanted: String,
    },
    /// A buffer holds another number of bytes than its shape and dtype need.
    #[error("{name}: {found} bytes, shape {shape:?} in {dtype} wants {wanted}")]
    Length {
        /// The array.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its element type.
        dtype: Dtype,
        /// The number of bytes given.
        found: usize,
        /// The number of bytes wanted.
        wanted: usize,
    },
    /// An index lies outside of the axis it points into.
    #[error("{name}: index {found}, want one below {limit}")]
    Index {
        /// The operation and its argument.
        name: String,
        /// The index given.
        found: usize,
        /// The length of the axis.
        limit: usize,
    },
    /// A setting is outside of the range in which the operation is defined.
    #[error("{name}: got {found}, want {wanted}")]
    Setting {
        /// The setting.
        name: String,
        /// Its value.
        found: String,
        /// The range.
        wanted: String,
    },
}

impl KernelError {
    /// A [`KernelError::Shape`] from borrowed parts.
    pub fn shape(name: &str, found: &[usize], wanted: impl Into<String>) -> Self {
        Self::Shape { name: name.into(), found: found.to_vec(), wanted: wanted.into() }
    }
}
