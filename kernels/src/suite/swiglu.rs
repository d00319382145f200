//! Properties of [`swiglu`](crate::swiglu).

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_rows_stand_alone, assert_threads_change_no_bit, batch, done,
    download, for_all, is_shape, size, upload, wide, with_one_hostile_row,
};
use crate::{Backend, Scalar, Tolerance, assert_close};

/// `gate * sigmoid(gate) * up` in `f64`, the sigmoid as half a hyperbolic tangent and a half.
#[must_use]
pub fn definition(gate: &[f64], up: &[f64]) -> Vec<f64> {
    gate.iter().zip(up).map(|(g, u)| g * 0.5 * (1.0 + (0.5 * g).tanh()) * u).collect()
}

/// Each element of `up` is multiplied by the gate's value and its sigmoid.
pub fn follows_its_definition<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let mut values = Values::new(seed);
        let gate = values.draw::<B::Scalar>(rows * width);
        let gate: Vec<f64> =
            gate.iter().map(|v| (*v * B::Scalar::from_f64(8.0)).as_f64()).collect();
        let up = wide(&values.draw::<B::Scalar>(rows * width));
        let shape = [rows, width];
        let y = b.swiglu(&upload(b, &gate, &shape), &upload(b, &up, &shape));
        assert_close(&download(b, y), &definition(&gate, &up), tolerance);
    });
}

/// A closed gate gives 0, an open one passes `gate * up`, and NaN stays NaN.
pub fn extreme_gates_reach_their_limits<B: Backend>(b: &B, tolerance: Tolerance) {
    let gate = [f64::NEG_INFINITY, -1e30, -200.0, 0.0, 200.0, 1e30, f64::INFINITY];
    let up = [2.0; 7];
    let want = [0.0, 0.0, 0.0, 0.0, 400.0, 2e30, f64::INFINITY];
    let y = b.swiglu(&upload(b, &gate, &[7]), &upload(b, &up, &[7]));
    assert_close(&download(b, y), &want, tolerance);
    let (nan, one) = (upload(b, &[f64::NAN, 1.0], &[2]), upload(b, &[1.0, f64::NAN], &[2]));
    let y = wide(&download(b, b.swiglu(&nan, &one)));
    assert!(y.iter().all(|v| v.is_nan()), "{y:?}");
}

/// A row has the same bits in any batch, whatever its neighbours hold.
pub fn a_row_alone_equals_the_row_in_a_batch<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let gate: Vec<B::Scalar> = with_one_hostile_row(rows, width, seed);
        let up: Vec<B::Scalar> = Values::new(!seed).draw(rows * width);
        assert_rows_stand_alone(rows, |rows| {
            let part = |x: &[B::Scalar]| {
                let part = &x[rows.start * width..rows.end * width];
                done(b.upload(part, &[rows.len(), width]))
            };
            download(b, b.swiglu(&part(&gate), &part(&up)))
        });
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: Backend>(b: &B, _: Tolerance) {
    let x = upload(b, &Values::new(5).draw(17 * 65), &[17, 65]);
    assert_threads_change_no_bit(|| download(b, b.swiglu(&x, &x)));
}

/// Nothing is broadcast.
pub fn wrong_shapes_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let gate = upload(b, &[1.0; 6], &[2, 3]);
    for shape in [&[][..], &[1], &[3], &[6], &[3, 2], &[1, 3], &[2, 3, 1], &[0, 3]] {
        let up = upload(b, &vec![1.0; shape.iter().product()], shape);
        assert_error(b.swiglu(&gate, &up), is_shape);
        assert_error(b.swiglu(&up, &gate), is_shape);
    }
}
