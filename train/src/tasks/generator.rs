//! What each task that makes its problems says of them.

use std::fmt::Debug;
use std::ops::RangeInclusive;

use rand_chacha::ChaCha8Rng;

use super::Problem;
use super::multisets::Multisets;
use crate::config::TrainConfigError;

/// A task whose problems are made from numbers.
///
/// The numbers alone, without an order, are what makes a problem the same as another.
pub(super) trait Generator: Debug + Send + Sync {
    /// The settings that say how many problems there are.
    fn settings(&self) -> &'static str;

    /// The numbers of all problems.
    fn space(&self) -> &Multisets;

    /// The problem of numbers, which are in rising order; what they leave open is drawn. Nothing
    /// where these numbers make no problem.
    fn problem(&self, numbers: Vec<u64>, stream: &mut ChaCha8Rng) -> Option<Problem>;
}

/// The multisets of `count` numbers; too many are an error of the setting `field`.
pub(super) fn space(
    field: &'static str,
    count: usize,
    numbers: RangeInclusive<u64>,
) -> Result<Multisets, TrainConfigError> {
    let (low, high) = numbers.into_inner();
    Multisets::new(count, low, high).ok_or_else(|| {
        let wanted = format!("fewer than 2^120 problems, so less with numbers up to {high}");
        TrainConfigError::setting(field, count, wanted)
    })
}
