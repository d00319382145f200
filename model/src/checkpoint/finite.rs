//! A scan of all weights for NaN and infinities.

use latent_kernels::Dtype;

use super::error::CheckpointError;
use super::{Checkpoint, weight_dtype};

impl Checkpoint {
    /// Reads every weight of the checkpoint and proves that all of its values are finite.
    ///
    /// This reads all bytes of all files, once; nothing is allocated. Tensors of integers, and of
    /// types that cannot be weights, are passed over.
    ///
    /// # Errors
    /// [`CheckpointError::NotFinite`] for the first such tensor, by name.
    pub fn check_weights(&self) -> Result<(), CheckpointError> {
        for tensor in self.names() {
            let (shard, entry) = self.find(tensor)?;
            let Some(dtype) = weight_dtype(entry.dtype) else { continue };
            if let Some((first, count)) = not_finite(dtype, shard.bytes(entry).as_slice()) {
                let (file, tensor) = (shard.path.clone(), tensor.into());
                return Err(CheckpointError::NotFinite { file, tensor, first, count });
            }
        }
        Ok(())
    }
}

/// The index of the first element of `bytes` that is NaN or infinite, and how many there are.
fn not_finite(dtype: Dtype, bytes: &[u8]) -> Option<(usize, usize)> {
    match dtype {
        Dtype::F64 => scan(bytes, |b| f64::from_le_bytes(b).is_finite()),
        Dtype::F32 => scan(bytes, |b| f32::from_le_bytes(b).is_finite()),
        Dtype::F16 => scan(bytes, |b| u16::from_le_bytes(b) & 0x7c00 != 0x7c00),
        Dtype::Bf16 => scan(bytes, |b| u16::from_le_bytes(b) & 0x7f80 != 0x7f80),
        Dtype::F8E4m3 => scan(bytes, |[b]| b & 0x7f != 0x7f),
        Dtype::I8 => None,
    }
}

fn scan<const N: usize>(bytes: &[u8], finite: impl Fn([u8; N]) -> bool) -> Option<(usize, usize)> {
    let (elements, _) = bytes.as_chunks::<N>();
    let first = elements.iter().position(|&b| !finite(b))?;
    Some((first, elements[first..].iter().filter(|b| !finite(**b)).count()))
}
