//! The rows of a weight named by a list of ids: an embedding.
//!
//! # Shapes
//! - `w`: `[vocab, dim]`, in its stored dtype
//! - `ids`: `[token]`, each below `vocab`
//! - returns `[token, dim]`
//!
//! An id may occur any number of times; no ids give `[0, dim]`.
//!
//! ```
//! use latent_kernels::{Backend, Dtype, Reference, Weight};
//! let cpu = Reference::<f64>::new();
//! let w = cpu.matrix(Weight::encode(Dtype::Bf16, [2, 2], &[1.0_f32, 2.0, 3.0, 4.0])?)?;
//! assert_eq!(cpu.download(&cpu.gather(&w, &[1, 0])?)?, [3.0, 4.0, 1.0, 2.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::KernelError;

pub mod backward;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

/// Proves that every id names a row.
///
/// ```
/// use latent_kernels::gather::check;
/// assert!(check(3, &[2, 0, 2]).is_ok());
/// assert!(check(3, &[3]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Index`] with the first id that does not.
pub fn check(vocab: usize, ids: &[u32]) -> Result<(), KernelError> {
    check_ids("gather: ids", vocab, ids)
}

/// The same for ids of any name.
pub(crate) fn check_ids(name: &str, vocab: usize, ids: &[u32]) -> Result<(), KernelError> {
    match ids.iter().find(|&&id| id as usize >= vocab) {
        Some(&id) => {
            Err(KernelError::Index { name: name.into(), found: id as usize, limit: vocab })
        }
        None => Ok(()),
    }
}
