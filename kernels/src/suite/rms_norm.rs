//! Properties of [`rms_norm`](crate::rms_norm).

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_rows_stand_alone, assert_threads_change_no_bit, batch, download,
    for_all, is_shape, size, upload, wide, with_one_hostile_row,
};
use crate::{Backend, KernelError, Scalar, Tolerance, assert_close};

const EPS: f64 = 1e-6;

/// `gain * x / sqrt(mean(x²) + eps)` in `f64`, row by row.
#[must_use]
pub fn definition(x: &[f64], gain: &[f64], eps: f64) -> Vec<f64> {
    let rows = x.chunks(gain.len().max(1));
    rows.flat_map(|row| {
        let mean = row.iter().map(|v| v * v).sum::<f64>() / row.len() as f64;
        row.iter().zip(gain).map(move |(x, g)| g * x / (mean + eps).sqrt())
    })
    .collect()
}

fn largest<T: Scalar>() -> T {
    T::max_value()
}

/// Each row is divided by its root mean square and multiplied by the gain.
pub fn follows_its_definition<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let mut values = Values::new(seed);
        let x: Vec<B::Scalar> = values.draw(rows * width);
        let gain: Vec<B::Scalar> = values.draw(width);
        let want = definition(&wide(&x), &wide(&gain), EPS);
        let (x, gain) =
            (upload(b, &wide(&x), &[rows, 1, width]), upload(b, &wide(&gain), &[width]));
        assert_close(&download(b, b.rms_norm(&x, &gain, EPS)), &want, tolerance);
    });
}

/// Where `eps` is negligible, a row and its multiple have the same norm.
pub fn ignores_the_scale_of_a_row<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((size(), any::<u64>(), 0.25..1000.0), |(width, seed, scale)| {
        let mut values = Values::new(seed);
        let x: Vec<f64> = values.draw(width).iter().map(|v: &f64| v + v.signum()).collect();
        let scaled: Vec<f64> = x.iter().map(|v| v * scale).collect();
        let gain = upload(b, &values.draw(width), &[width]);
        let norm = |x: &[f64]| download(b, b.rms_norm(&upload(b, x, &[width]), &gain, 1e-30));
        assert_close(&norm(&scaled), &norm(&x), tolerance);
    });
}

/// A row of zeros gives zeros with any allowed `eps`, and finite values give finite ones.
pub fn zeros_and_huge_rows_stay_finite<B: Backend>(b: &B, _: Tolerance) {
    let gain = upload(b, &[1.0; 17], &[17]);
    for eps in [EPS, f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)] {
        let y = b.rms_norm(&upload(b, &[0.0; 34], &[2, 17]), &gain, eps);
        assert_close(&download(b, y), &[0.0; 34], Tolerance::EXACT);
        let huge = [largest::<B::Scalar>(); 17];
        let y = b.upload(&huge, &[17]).and_then(|x| b.rms_norm(&x, &gain, eps));
        let y = wide(&download(b, y));
        assert!(y.iter().all(|v| v.is_finite()), "{y:?}");
    }
}

/// A row has the same bits in any batch, whatever its neighbours hold.
pub fn a_row_alone_equals_the_row_in_a_batch<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let x: Vec<B::Scalar> = with_one_hostile_row(rows, width, seed);
        let gain = upload(b, &Values::new(seed).draw(width), &[width]);
        assert_rows_stand_alone(rows, |rows| {
            let part = &x[rows.start * width..rows.end * width];
            let x = b.upload(part, &[rows.len(), width]);
            download(b, x.and_then(|x| b.rms_norm(&x, &gain, EPS)))
        });
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: Backend>(b: &B, _: Tolerance) {
    let mut values = Values::new(2);
    let x = upload(b, &values.draw(17 * 65), &[17, 65]);
    let gain = upload(b, &values.draw(65), &[65]);
    assert_threads_change_no_bit(|| download(b, b.rms_norm(&x, &gain, EPS)));
}

/// A gain of another length, and an `eps` that is not above 0 in `f32`, are errors.
pub fn wrong_arguments_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let x = upload(b, &[1.0; 6], &[2, 3]);
    for shape in [&[][..], &[2], &[6], &[1, 3], &[0]] {
        let gain = upload(b, &vec![1.0; shape.iter().product()], shape);
        assert_error(b.rms_norm(&x, &gain, EPS), is_shape);
    }
    let one = upload(b, &[1.0], &[]);
    assert_error(b.rms_norm(&one, &one, EPS), is_shape);
    let gain = upload(b, &[1.0; 3], &[3]);
    for eps in [0.0, -1e-6, f64::NAN, f64::INFINITY, 1e-60] {
        let setting = |e: &KernelError| matches!(e, KernelError::Setting { .. });
        assert_error(b.rms_norm(&x, &gain, eps), setting);
    }
}
