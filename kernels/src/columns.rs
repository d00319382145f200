//! Taking arrays apart and putting them together: split and join on the last axis, selection on
//! the first.
//!
//! # Shapes
//! - split: `[.., n]` at `at <= n` gives `[.., at]` and `[.., n - at]`
//! - join: `[.., m]` and `[.., n]` with equal leading axes give `[.., m + n]`
//! - select: `[row, ..]` with `k` indices gives `[k, ..]`; an index may occur any number of times

use crate::KernelError;

pub(crate) mod reference;

/// Proves the arguments of a split.
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
