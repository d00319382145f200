//! The rows of a weight named by a list of ids: an embedding.
//!
//! # Shapes
//! - `w`: `[vocab, dim]`, in its stored dtype
//! - `ids`: `[token]`, each below `vocab`
//! - returns `[token, dim]`
//!
//! An id may occur any number of times; no ids give `[0, dim]`.

use crate::KernelError;

pub(crate) mod reference;

/// Proves that every id names a row.
///
/// # Errors
/// [`KernelError::Index`] with the first id that does not.
pub fn check(vocab: usize, ids: &[u32]) -> Result<(), KernelError> {
    match ids.iter().find(|&&id| id as usize >= vocab) {
        Some(&id) => {
            let name = "gather: ids".into();
            Err(KernelError::Index { name, found: id as usize, limit: vocab })
        }
        None => Ok(()),
    }
}
