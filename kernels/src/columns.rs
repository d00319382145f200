//! Taking arrays apart and putting them together: split and join on the last axis, selection on
//! the first.
//!
//! # Shapes
//! - split: `[.., n]` at `at <= n` gives `[.., at]` and `[.., n - at]`
//! - join: `[.., m]` and `[.., n]` with equal leading axes give `[.., m + n]`
//! - select: `[row, ..]` with `k` indices gives `[k, ..]`; an index may occur any number of times
//!
//! ```
//! use latent_kernels::{Backend, Reference};
//! let cpu = Reference::<f64>::new();
//! let x = cpu.upload(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3])?;
//! let (a, b) = cpu.split_columns(&x, 1)?;
//! assert_eq!(cpu.download(&a)?, [1.0, 4.0]);
//! assert_eq!(cpu.join_columns(&a, &b)?, x);
//! assert_eq!(cpu.download(&cpu.select_rows(&a, &[1, 1])?)?, [4.0, 4.0]);
//! # Ok::<(), latent_kernels::KernelError>(())
//! ```

use crate::KernelError;

#[cfg(feature = "gpu")]
pub mod gpu;
pub(crate) mod reference;

/// Proves the arguments of a split.
///
/// ```
/// use latent_kernels::columns::check_split;
/// assert!(check_split(&[5, 80], 80).is_ok());
/// assert!(check_split(&[5, 80], 81).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when the last axis of `x` is shorter than `at`.
pub fn check_split(x: &[usize], at: usize) -> Result<(), KernelError> {
    match x.last() {
        Some(&n) if at <= n => Ok(()),
        _ => Err(KernelError::shape("split: x", x, format!("want at least {at} columns"))),
    }
}

/// Proves the arguments of a join.
///
/// ```
/// use latent_kernels::columns::check_join;
/// assert!(check_join(&[5, 80], &[5, 16]).is_ok());
/// assert!(check_join(&[5, 80], &[4, 80]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when the leading axes differ.
pub fn check_join(a: &[usize], b: &[usize]) -> Result<(), KernelError> {
    match (a.split_last(), b.split_last()) {
        (Some((_, a_leading)), Some((_, b_leading))) if a_leading == b_leading => Ok(()),
        _ => Err(KernelError::shape("join: b", b, format!("a has shape {a:?}"))),
    }
}

/// Proves the arguments of a selection.
///
/// ```
/// use latent_kernels::columns::check_select;
/// assert!(check_select(&[5, 80], &[4, 4, 0]).is_ok());
/// assert!(check_select(&[5, 80], &[5]).is_err());
/// ```
///
/// # Errors
/// [`KernelError::Shape`] when `x` has no axis, [`KernelError::Index`] when a row is not there.
pub fn check_select(x: &[usize], rows: &[usize]) -> Result<(), KernelError> {
    let Some(&limit) = x.first() else {
        return Err(KernelError::shape("select: x", x, "want at least one axis"));
    };
    match rows.iter().find(|&&r| r >= limit) {
        Some(&found) => Err(KernelError::Index { name: "select: rows".into(), found, limit }),
        None => Ok(()),
    }
}
