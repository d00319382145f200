//! Arrays on a device.

use cubecl::prelude::*;
use cubecl::server::Handle;

use crate::{KernelError, Tensor};

/// Every buffer is as long as a multiple of this, in bytes, so that it can be read four words at a
/// time to its end.
const ALIGNMENT: usize = 16;

/// A range of device memory of a known length.
#[derive(Debug, Clone)]
pub struct Buffer {
    handle: Handle,
    bytes: usize,
}

impl Buffer {
    pub(super) fn new(handle: Handle, bytes: usize) -> Self {
        Self { handle, bytes }
    }

    /// The bytes that a buffer for `bytes` takes.
    pub(super) fn padded(bytes: usize) -> usize {
        bytes.next_multiple_of(ALIGNMENT).max(ALIGNMENT)
    }

    /// The length in bytes, without what was added to fill the last 16.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The argument of a kernel that sees elements of `element` bytes: a whole number of them, the
    /// last ones padding.
    #[must_use]
    pub fn arg(&self, element: usize) -> BufferArg {
        let elements = Self::padded(self.bytes) / element;
        #[expect(unsafe_code, reason = "the length of a buffer is told to the kernel")]
        // SAFETY: the buffer was allocated with `padded(bytes)` bytes, of which this is no more.
        unsafe {
            BufferArg::from_raw_parts(self.handle.clone(), elements)
        }
    }
}

/// An array of `f32` on a device: its buffer holds exactly as many elements as its shape has.
#[derive(Debug, Clone)]
pub struct GpuTensor {
    buffer: Buffer,
    shape: Vec<usize>,
}

impl GpuTensor {
    pub(super) fn new(buffer: Buffer, shape: &[usize]) -> Result<Self, KernelError> {
        let elements = shape.iter().try_fold(1_usize, |n, &axis| n.checked_mul(axis));
        if elements.and_then(|n| n.checked_mul(4)) == Some(buffer.bytes) {
            return Ok(Self { buffer, shape: shape.to_vec() });
        }
        let found = [buffer.bytes / 4];
        Err(KernelError::shape("tensor: elements", &found, format!("want {shape:?}")))
    }

    /// The memory.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// The number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.buffer.bytes / 4
    }

    /// The argument of a kernel that sees single elements.
    #[must_use]
    pub fn arg(&self) -> BufferArg {
        self.buffer.arg(4)
    }

    /// The argument of a kernel that sees four elements at a time, the last ones padding.
    #[must_use]
    pub fn arg4(&self) -> BufferArg {
        self.buffer.arg(16)
    }

    pub(super) fn reshaped(self, shape: &[usize]) -> Result<Self, KernelError> {
        let found = self.shape;
        Self::new(self.buffer, shape)
            .map_err(|_| KernelError::shape("reshape: x", &found, format!("want {shape:?}")))
    }
}

impl Tensor for GpuTensor {
    fn shape(&self) -> &[usize] {
        &self.shape
    }
}
