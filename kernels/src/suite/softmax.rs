//! Properties of [`softmax`](crate::softmax).

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_rows_stand_alone, assert_threads_change_no_bit, batch, download,
    for_all, is_shape, size, upload, wide, with_one_hostile_row,
};
use crate::{Backend, Scalar, Tolerance, assert_close};

/// `exp(x_i) / Σ_j exp(x_j)` in `f64`, row by row, for values small enough to need no shift.
#[must_use]
pub fn definition(x: &[f64], width: usize) -> Vec<f64> {
    let rows = x.chunks(width.max(1));
    rows.flat_map(|row| {
        let sum: f64 = row.iter().map(|v| v.exp()).sum();
        row.iter().map(move |v| v.exp() / sum)
    })
    .collect()
}

/// Scores of a row: the values times 20.
fn scores<T: Scalar>(n: usize, seed: u64) -> Vec<f64> {
    Values::new(seed).draw::<T>(n).iter().map(|v| (*v * T::from_f64(20.0)).as_f64()).collect()
}

fn softmax<B: Backend>(b: &B, x: &[f64], shape: &[usize]) -> Vec<B::Scalar> {
    download(b, b.softmax(&upload(b, x, shape)))
}

/// Each element is its share of the row's exponentials, and a row sums to 1.
pub fn follows_its_definition<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let x = scores::<B::Scalar>(rows * width, seed);
        let y = softmax(b, &x, &[rows, 1, width]);
        assert_close(&y, &definition(&x, width), tolerance);
        for row in y.chunks(width.max(1)) {
            assert_close(&[wide(row).iter().sum::<f64>()], &[1.0], tolerance);
        }
    });
}

/// Adding one number to all elements changes nothing, even where its exponential overflows.
pub fn ignores_a_shift<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((size(), any::<u64>(), -8_i32..=8), |(width, seed, shift)| {
        // Eighths below 2^17 are exact in f32, shifted or not.
        let x: Vec<f64> =
            scores::<f64>(width, seed).iter().map(|v| (8.0 * v).round() / 8.0).collect();
        let shifted: Vec<f64> = x.iter().map(|v| v + 10_000.0 * f64::from(shift)).collect();
        assert_close(&softmax(b, &shifted, &[width]), &softmax(b, &x, &[width]), tolerance);
    });
}

/// An element of -∞ gets 0 and leaves the others alone; a row of them gives zeros.
pub fn minus_infinity_gets_nothing<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((size(), size(), any::<u64>()), |(seen, hidden, seed)| {
        let mut x = scores::<B::Scalar>(seen, seed);
        let mut want = definition(&x, seen);
        x.resize(seen + hidden, f64::NEG_INFINITY);
        want.resize(seen + hidden, 0.0);
        let y = softmax(b, &x, &[x.len()]);
        assert_close(&y, &want, tolerance);
        assert_close(&y[seen..], &vec![0.0; hidden], Tolerance::EXACT);
    });
}

/// A NaN or a +∞ anywhere makes its row NaN, never its neighbour.
pub fn nan_and_infinity_take_the_row<B: Backend>(b: &B, _: Tolerance) {
    for_all((1_usize..20, any::<u64>(), any::<bool>()), |(width, seed, hide)| {
        for hostile in [f64::NAN, f64::INFINITY] {
            let mut x = scores::<B::Scalar>(3 * width, seed);
            if hide {
                x[width..2 * width].fill(f64::NEG_INFINITY);
            }
            x[width + Values::new(seed).indices(1, width)[0]] = hostile;
            let y = wide(&softmax(b, &x, &[3, width]));
            assert!(y[width..2 * width].iter().all(|v| v.is_nan()), "{y:?}");
            let (first, last) = (&y[..width], &y[2 * width..]);
            assert!(first.iter().chain(last).all(|v| v.is_finite()), "{y:?}");
        }
    });
}

/// A row has the same bits in any batch, whatever its neighbours hold.
pub fn a_row_alone_equals_the_row_in_a_batch<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let x: Vec<B::Scalar> = with_one_hostile_row(rows, width, seed);
        assert_rows_stand_alone(rows, |rows| {
            let part = &x[rows.start * width..rows.end * width];
            download(b, b.upload(part, &[rows.len(), width]).and_then(|x| b.softmax(&x)))
        });
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: Backend>(b: &B, _: Tolerance) {
    let x = upload(b, &Values::new(4).draw(17 * 65), &[17, 65]);
    assert_threads_change_no_bit(|| download(b, b.softmax(&x)));
}

/// An array without axes has no rows.
pub fn a_scalar_is_an_error<B: Backend>(b: &B, _: Tolerance) {
    assert_error(b.softmax(&upload(b, &[1.0], &[])), is_shape);
}
