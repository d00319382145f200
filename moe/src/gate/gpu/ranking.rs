//! Who comes first, counted in shared memory.

use cubecl::prelude::*;

/// The sum of the `best_of` (one or two) largest of `count` values from `first` on.
#[cube]
pub(super) fn sum_of_best(
    values: &Shared<[f32]>,
    first: usize,
    count: usize,
    best_of: usize,
) -> f32 {
    let (mut best, mut second) = (f32::min_value(), f32::min_value());
    for i in first..first + count {
        let value = values[i];
        second = select(value > best, best, select(value > second, value, second));
        best = select(value > best, value, best);
    }
    select(best_of == 2, best + second, best)
}

/// How many of `count` values come before value `at`: the larger ones, and equal ones of a lower
/// index.
#[cube]
pub(super) fn count_before(values: &Shared<[f32]>, count: usize, at: usize) -> usize {
    let value = values[at];
    let mut before = 0usize;
    for i in 0..count {
        let first = values[i] > value || (values[i] >= value && i < at);
        before += select(first, 1usize, 0usize);
    }
    before
}
