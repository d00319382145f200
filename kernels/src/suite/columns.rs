//! Properties of [`columns`](crate::columns).

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_same_bits, batch, done, for_all, is_index, is_shape, size, upload,
    wide,
};
use crate::{Backend, Tensor, Tolerance};

/// The parts of a split are the first and the last columns of each row.
pub fn split_follows_its_definition<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), size(), any::<u64>()), |(rows, left, right, seed)| {
        let width = left + right;
        let x: Vec<B::Scalar> = Values::new(seed).draw(rows * width);
        let part = |from: usize, to: usize| -> Vec<B::Scalar> {
            (0..rows).flat_map(|r| x[r * width + from..r * width + to].to_vec()).collect()
        };
        let parts = b.split_columns(&upload(b, &wide(&x), &[rows, 1, width]), left);
        let (first, second) = done(parts);
        assert_eq!((first.shape(), second.shape()), (&[rows, 1, left][..], &[rows, 1, right][..]));
        assert_same_bits(&done(b.download(&first)), &part(0, left));
        assert_same_bits(&done(b.download(&second)), &part(left, width));
    });
}

/// Joining the parts of a split gives the array back.
pub fn join_undoes_split<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), size(), any::<u64>()), |(rows, left, right, seed)| {
        let shape = [1, rows, left + right];
        let x: Vec<B::Scalar> = Values::new(seed).draw(rows * (left + right));
        let parts = b.split_columns(&upload(b, &wide(&x), &shape), left);
        let joined = parts.and_then(|(first, second)| b.join_columns(&first, &second));
        let joined = done(joined);
        assert_eq!(joined.shape(), shape);
        assert_same_bits(&done(b.download(&joined)), &x);
    });
}

/// A selection holds the named entries in the named order; all of them in order change nothing.
pub fn select_follows_its_definition<B: Backend>(b: &B, _: Tolerance) {
    for_all((1_usize..8, size(), size(), any::<u64>()), |(rows, width, picks, seed)| {
        let mut values = Values::new(seed);
        let x: Vec<B::Scalar> = values.draw(rows * width);
        for picked in [values.indices(picks, rows), (0..rows).collect()] {
            let want: Vec<B::Scalar> =
                picked.iter().flat_map(|&r| x[r * width..(r + 1) * width].to_vec()).collect();
            let y = b.select_rows(&upload(b, &wide(&x), &[rows, width, 1]), &picked);
            let y = done(y);
            assert_eq!(y.shape(), [picked.len(), width, 1]);
            assert_same_bits(&done(b.download(&y)), &want);
        }
    });
}

/// Columns and rows that are not there, and leading axes that differ, are errors.
pub fn wrong_arguments_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let (x, scalar) = (upload(b, &[1.0; 6], &[2, 3]), upload(b, &[1.0], &[]));
    for at in [4, usize::MAX] {
        assert_error(b.split_columns(&x, at), is_shape);
    }
    assert_error(b.split_columns(&scalar, 0), is_shape);
    assert_error(b.join_columns(&scalar, &scalar), is_shape);
    for shape in [&[][..], &[2], &[3, 3], &[1, 2, 3], &[0, 3]] {
        let y = upload(b, &vec![1.0; shape.iter().product()], shape);
        assert_error(b.join_columns(&x, &y), is_shape);
    }
    for row in [2, usize::MAX] {
        assert_error(b.select_rows(&x, &[0, row]), is_index);
    }
    assert_error(b.select_rows(&scalar, &[]), is_shape);
    assert_error(b.select_rows(&upload(b, &[], &[0, 3]), &[0]), is_index);
}
