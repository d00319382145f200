//! The sum of two arrays, element by element: a residual connection.
//!
//! # Shapes
//! - `a`, `b`: any equal shape
//! - returns that shape

use crate::KernelError;

pub(crate) mod reference;

/// Proves the arguments of a sum.
///
/// # Errors
/// [`KernelError::Shape`] when the shapes differ: nothing is broadcast.
pub fn check(a: &[usize], b: &[usize]) -> Result<(), KernelError> {
    if a == b { Ok(()) } else { Err(KernelError::shape("add: b", b, format!("a has shape {a:?}"))) }
}
