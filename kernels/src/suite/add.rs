//! Properties of [`add`](crate::add).

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_same_bits, batch, download, for_all, is_shape, size, upload, wide,
};
use crate::{Backend, Tolerance};

/// Each element is the rounded sum of two: IEEE 754 leaves no room for another result.
pub fn follows_its_definition<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let mut values = Values::new(seed);
        let x: Vec<B::Scalar> = values.draw(rows * width);
        let y: Vec<B::Scalar> = values.draw(rows * width);
        let want: Vec<B::Scalar> = x.iter().zip(&y).map(|(&x, &y)| x + y).collect();
        let shape = [rows, width];
        let sum = b.add(&upload(b, &wide(&x), &shape), &upload(b, &wide(&y), &shape));
        assert_same_bits(&download(b, sum), &want);
    });
}

/// Nothing is broadcast.
pub fn wrong_shapes_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let x = upload(b, &[1.0; 6], &[2, 3]);
    for shape in [&[][..], &[1], &[3], &[6], &[3, 2], &[1, 3], &[2, 3, 1], &[0, 3]] {
        let y = upload(b, &vec![1.0; shape.iter().product()], shape);
        assert_error(b.add(&x, &y), is_shape);
        assert_error(b.add(&y, &x), is_shape);
    }
}
