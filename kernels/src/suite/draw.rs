//! Properties of [`draw`](crate::draw).

use proptest::prelude::*;

use super::{Values, assert_error, batch, done, for_all, is_shape, size, upload};
use crate::{Backend, KernelError, Tolerance};

/// The borders of the shares of a row on `[0, 1]`: index `i` has those from `i` to `i + 1`.
fn borders(row: &[f64], temperature: f64) -> Vec<f64> {
    let weights: Vec<f64> = row.iter().map(|x| (x / temperature).exp()).collect();
    let total: f64 = weights.iter().sum();
    let mut border = 0.0;
    let after = weights.iter().map(|w| {
        border += w / total;
        border
    });
    [0.0].into_iter().chain(after).collect()
}

/// It is the index whose share of `[0, 1]` holds the draw, and never one without a share.
pub fn follows_its_definition<B: Backend>(b: &B, _: Tolerance) {
    let width = prop_oneof![size(), Just(600)];
    for_all((batch(), width, any::<u64>(), 0.3..3.0), |(rows, width, seed, temperature)| {
        let mut values = Values::new(seed);
        let mut x: Vec<f64> = values.draw::<f64>(rows * width).iter().map(|v| 3.0 * v).collect();
        for i in (0..x.len()).step_by(3) {
            x[i] = f64::NEG_INFINITY;
        }
        let draws: Vec<f64> = values.draw::<f64>(rows).iter().map(|v| 0.5 + v / 2.001).collect();
        let got = done(b.draw(&upload(b, &x, &[rows, 1, width]), temperature, &draws));
        assert_eq!(got.len(), rows);
        for (row, (got, u)) in got.into_iter().zip(draws).enumerate() {
            let row = &x[row * width..(row + 1) * width];
            if row.iter().all(|v| v.is_infinite()) {
                assert_eq!(got, None);
                continue;
            }
            let (i, borders) = (got.expect("a draw") as usize, borders(row, temperature));
            assert!(row[i].is_finite(), "-∞ was drawn");
            let near = borders[i] - 1e-5 <= u && u <= borders[i + 1] + 1e-5;
            assert!(near, "{u} gave {i}, whose share is {:?}", &borders[i..=i + 1]);
        }
    });
}

/// At a very low temperature the largest element is drawn, whatever the draw.
pub fn the_cold_is_greedy<B: Backend>(b: &B, _: Tolerance) {
    for_all((1_usize..600, any::<u64>()), |(width, seed)| {
        let x = upload(b, &Values::new(seed).draw::<f64>(width), &[1, width]);
        let want = done(b.argmax(&x));
        for (temperature, u) in [(1e-9, 0.0), (1e-300, 0.5), (1e-9, 0.999)] {
            assert_eq!(done(b.draw(&x, temperature, &[u])), want);
        }
    });
}

/// The least and the largest draw give the first and the last index with a share.
pub fn the_ends_are_the_first_and_the_last<B: Backend>(b: &B, _: Tolerance) {
    for width in [1, 2, 255, 256, 257, 1000] {
        let mut x = vec![0.0; width + 2];
        (x[0], x[width + 1]) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        let x = upload(b, &x, &[1, width + 2]);
        let ends = [0.0, 1.0 - f64::EPSILON / 2.0].map(|u| done(b.draw(&x, 1.0, &[u]))[0]);
        let last = u32::try_from(width).expect("small");
        assert_eq!(ends, [Some(1), Some(last)], "{width}");
    }
}

/// A NaN or a +∞ anywhere leaves its row without a draw, and touches no other row.
pub fn nan_and_infinity_spoil_their_row_alone<B: Backend>(b: &B, _: Tolerance) {
    for_all((1_usize..600, any::<u64>()), |(width, seed)| {
        for hostile in [f64::NAN, f64::INFINITY] {
            let mut x = Values::new(seed).draw::<f64>(3 * width);
            x[width + Values::new(seed).indices(1, width)[0]] = hostile;
            let drawn = done(b.draw(&upload(b, &x, &[3, width]), 1.0, &[0.5; 3]));
            assert_eq!(drawn.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
        }
    });
}

/// Too few draws, temperatures that are none, and draws outside of `[0, 1)` are errors.
pub fn wrong_arguments_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let x = upload(b, &[1.0; 6], &[2, 3]);
    for draws in [&[][..], &[0.5], &[0.5; 3]] {
        assert_error(b.draw(&x, 1.0, draws), is_shape);
    }
    assert_error(b.draw(&upload(b, &[1.0], &[]), 1.0, &[0.5]), is_shape);
    let setting = |e: &KernelError| matches!(e, KernelError::Setting { .. });
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_error(b.draw(&x, temperature, &[0.5; 2]), setting);
    }
    for u in [-0.1, 1.0, f64::NAN] {
        assert_error(b.draw(&x, 1.0, &[0.5, u]), setting);
    }
}
