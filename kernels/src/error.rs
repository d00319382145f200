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
    /// No device can be opened.
    #[error(
        "no device: want {wanted}, found {found} devices; a GPU needs its driver for Vulkan, Metal \
         or DirectX 12, and Debian's `mesa-vulkan-drivers` brings a software device"
    )]
    NoDevice {
        /// What was asked for.
        wanted: String,
        /// The number of devices there are.
        found: usize,
    },
    /// A device does not allow a launch or a buffer of this size.
    #[error("{name}: {found}, this device allows {limit}")]
    DeviceLimit {
        /// The kernel or the array, and what there is too much of.
        name: String,
        /// How much was asked for.
        found: usize,
        /// How much the device allows.
        limit: usize,
    },
    /// A kernel or a transfer failed on the device.
    #[error("{name}: the device failed: {reason}")]
    DeviceFailed {
        /// The kernels that were launched since the last result was read, the last one last.
        name: String,
        /// What the device's driver says.
        reason: String,
    },
}

impl KernelError {
    /// A [`KernelError::Shape`] from borrowed parts.
    pub fn shape(name: &str, found: &[usize], wanted: impl Into<String>) -> Self {
        Self::Shape { name: name.into(), found: found.to_vec(), wanted: wanted.into() }
    }

    /// Proves that an array has exactly the wanted shape.
    ///
    /// ```
    /// use latent_kernels::KernelError;
    /// assert!(KernelError::check_shape("add: b", &[2, 3], &[2, 3]).is_ok());
    /// let error = KernelError::check_shape("add: b", &[3], &[2, 3]).unwrap_err();
    /// assert_eq!(error.to_string(), "add: b: shape [3], want [2, 3]");
    /// ```
    ///
    /// # Errors
    /// [`KernelError::Shape`] when it has another.
    pub fn check_shape(name: &str, found: &[usize], wanted: &[usize]) -> Result<(), Self> {
        if found == wanted {
            return Ok(());
        }
        Err(Self::shape(name, found, format!("want {wanted:?}")))
    }

    /// A [`KernelError::DeviceLimit`] from its parts.
    pub fn limit(name: impl Into<String>, found: usize, limit: usize) -> Self {
        Self::DeviceLimit { name: name.into(), found, limit }
    }
}
