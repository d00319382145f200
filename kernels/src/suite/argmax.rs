//! Properties of [`argmax`](crate::argmax).

use proptest::prelude::*;

use super::{Values, batch, done, for_all, is_shape, size, upload};
use crate::{Backend, Tolerance};

/// The first index that no other element exceeds.
fn definition(row: &[f64]) -> Option<u32> {
    let spoilt = |v: &f64| v.is_nan() || *v == f64::INFINITY;
    if row.iter().any(spoilt) || row.iter().all(|v| *v == f64::NEG_INFINITY) {
        return None;
    }
    (0..).zip(row).find(|(_, v)| row.iter().all(|other| other <= *v)).map(|(i, _)| i)
}

/// Elements on a coarse grid, so that ties are frequent, -∞ and the lowest number among them.
fn elements(n: usize, seed: u64) -> Vec<f64> {
    let values = Values::new(seed).draw::<f64>(n);
    let grid = |v: f64| match (v * 8.0).round() {
        v if v < -6.5 => f64::NEG_INFINITY,
        v if v < -5.5 => f64::from(f32::MIN),
        v => v,
    };
    values.into_iter().map(grid).collect()
}

/// It is the lowest index of a largest element, and a row of -∞ has none.
pub fn follows_its_definition<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), prop_oneof![size(), Just(600)], any::<u64>()), |(rows, width, seed)| {
        let mut x = elements(rows * width, seed);
        if seed % 3 == 0 {
            let low = x.len().min(width);
            x[..low].fill(f64::NEG_INFINITY);
        }
        let want: Vec<_> =
            (0..rows).map(|row| definition(&x[row * width..(row + 1) * width])).collect();
        assert_eq!(done(b.argmax(&upload(b, &x, &[rows, 1, width]))), want);
    });
}

/// A NaN or a +∞ anywhere leaves its row without a largest element, and touches no other row.
pub fn nan_and_infinity_spoil_their_row_alone<B: Backend>(b: &B, _: Tolerance) {
    for_all((1_usize..600, any::<u64>()), |(width, seed)| {
        for hostile in [f64::NAN, f64::INFINITY] {
            let mut x = Values::new(seed).draw::<f64>(3 * width);
            x[width + Values::new(seed).indices(1, width)[0]] = hostile;
            let best = done(b.argmax(&upload(b, &x, &[3, width])));
            assert_eq!(best.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        }
    });
}

/// An array without axes has no rows.
pub fn a_scalar_is_an_error<B: Backend>(b: &B, _: Tolerance) {
    super::assert_error(b.argmax(&upload(b, &[1.0], &[])), is_shape);
}
