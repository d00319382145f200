//! Moving values to a backend and back.

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_same_bits, batch, done, download, for_all, is_shape, size, storage,
};
use crate::{Backend, Dtype, Matrix, Scalar, Tensor, Tolerance, Weight, assert_close};

/// What comes back is what was sent, bit for bit, infinities and NaN included.
pub fn upload_then_download_is_the_identity<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let mut values: Vec<B::Scalar> = Values::new(seed).draw(rows * width);
        for (v, f) in values.iter_mut().zip([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0]) {
            *v = Scalar::from_f64(f);
        }
        let x = done(b.upload(&values, &[rows, width]));
        assert_eq!(x.shape(), [rows, width]);
        assert_same_bits(&done(b.download(&x)), &values);
    });
}

/// Another shape of equal size holds the same elements in the same order.
pub fn reshape_keeps_the_elements<B: Backend>(b: &B, _: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let values: Vec<B::Scalar> = Values::new(seed).draw(rows * width);
        for shape in [vec![width, rows], vec![rows * width], vec![1, rows, width, 1]] {
            let x = b.upload(&values, &[rows, width]).and_then(|x| b.reshape(x, &shape));
            let x = done(x);
            assert_eq!(x.shape(), shape);
            assert_same_bits(&done(b.download(&x)), &values);
        }
    });
}

/// A weight of one row is activations of its decoded values; its matrix keeps shape and dtype.
pub fn a_vector_is_a_decoded_row<B: Backend>(b: &B, _: Tolerance) {
    for_all((size(), storage(), any::<u64>()), |(cols, storage, seed)| {
        let w = storage.weight([1, cols], &mut Values::new(seed));
        let want: Vec<B::Scalar> = w.decode();
        assert_same_bits(&download(b, b.vector(&w)), &want);
        // A backend may hold f64 as its scalar, which decodes to the same.
        let stored = w.stored_bytes().min(cols * B::Scalar::BYTES);
        let m = done(b.matrix(w));
        assert_eq!((m.rows(), m.cols()), (1, cols));
        assert!(m.bytes() >= stored, "{} bytes held, {stored} stored", m.bytes());
    });
}

/// A number of elements that does not fit a shape is an error, overflowing shapes included.
pub fn wrong_shapes_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let six = [B::Scalar::default(); 6];
    for shape in [&[5][..], &[2, 2], &[], &[0, 6], &[usize::MAX, 6], &[usize::MAX, 2, 2]] {
        assert_error(b.upload(&six, shape), is_shape);
        let x = done(b.upload(&six, &[2, 3]));
        assert_error(b.reshape(x, shape), is_shape);
    }
    for [rows, cols] in [[0, 3], [2, 3], [0, 0], [2, 0]] {
        let w = Weight::encode(Dtype::F32, [rows, cols], &vec![0.0_f32; rows * cols]);
        assert_error(w.and_then(|w| b.vector(&w)), is_shape);
    }
    let one = b.upload(&six[..1], &[]).and_then(|x| b.download(&x));
    assert_close(&done(one), &[0.0], Tolerance::EXACT);
}
