//! Properties of [`linear`](crate::linear).

use proptest::prelude::*;

use super::{
    Storage, Values, assert_error, assert_rows_stand_alone, assert_same_bits,
    assert_threads_change_no_bit, batch, done, download, for_all, is_shape, size, storage, upload,
    wide, with_one_hostile_row,
};
use crate::{Backend, Dtype, Matrix, Scalar, Tensor, Tolerance, Weight, assert_close};

/// `x wᵀ` in `f64`, one sum per output: `x` is `[token, in]`, `w` `[out, in]`.
#[must_use]
pub fn definition(x: &[f64], w: &[f64], [tokens, out, width]: [usize; 3]) -> Vec<f64> {
    let y = |t: usize, o: usize| (0..width).map(|i| x[t * width + i] * w[o * width + i]).sum();
    (0..tokens).flat_map(|t| (0..out).map(move |o| y(t, o))).collect()
}

fn matrix<B: Backend>(b: &B, w: Weight) -> B::Matrix {
    done(b.matrix(w))
}

/// Each output is the dot product of a row of `x` and a row of `w`, in every stored dtype.
pub fn follows_its_definition<B: Backend>(b: &B, tolerance: Tolerance) {
    let sizes = (batch(), size(), size());
    for_all((sizes, storage(), any::<u64>()), |((tokens, out, width), storage, seed)| {
        let mut values = Values::new(seed);
        let x: Vec<B::Scalar> = values.draw(tokens * width);
        let w = storage.weight([out, width], &mut values);
        let w_values: Vec<B::Scalar> = w.decode();
        let want = definition(&wide(&x), &wide(&w_values), [tokens, out, width]);
        let x = upload(b, &wide(&x), &[tokens, 1, width]);
        let y = done(b.linear(&x, &matrix(b, w)));
        assert_eq!(y.shape(), [tokens, 1, out]);
        assert_close(&done(b.download(&y)), &want, tolerance);
    });
}

/// The image of `2 x + y` is twice that of `x` and that of `y`.
pub fn is_linear<B: Backend>(b: &B, tolerance: Tolerance) {
    for_all((size(), size(), storage(), any::<u64>()), |(out, width, storage, seed)| {
        let mut values = Values::new(seed);
        let (x, y) = (values.draw::<B::Scalar>(width), values.draw::<B::Scalar>(width));
        let w = matrix(b, storage.weight([out, width], &mut values));
        let image = |v: &[f64]| wide(&download(b, b.linear(&upload(b, v, &[width]), &w)));
        let sum = |x: &[f64], y: &[f64]| -> Vec<f64> {
            x.iter().zip(y).map(|(x, y)| 2.0 * x + y).collect()
        };
        let (x, y) = (wide(&x), wide(&y));
        let (got, want) = (image(&sum(&x, &y)), sum(&image(&x), &image(&y)));
        // Three results are rounded, one of them doubled.
        assert_close(&got, &want, Tolerance { atol: 4.0 * tolerance.atol, ..tolerance });
    });
}

/// A row has the same bits in any batch, whatever its neighbours hold.
pub fn a_row_alone_equals_the_row_in_a_batch<B: Backend>(b: &B, _: Tolerance) {
    let sizes = (batch(), size(), size());
    for_all((sizes, storage(), any::<u64>()), |((tokens, out, width), storage, seed)| {
        let x: Vec<B::Scalar> = with_one_hostile_row(tokens, width, seed);
        let w = matrix(b, storage.weight([out, width], &mut Values::new(seed)));
        assert_rows_stand_alone(tokens, |rows| {
            let part = &x[rows.start * width..rows.end * width];
            download(b, b.upload(part, &[rows.len(), width]).and_then(|x| b.linear(&x, &w)))
        });
    });
}

/// Products with several weights at once have the bits of each alone, whatever their storage.
pub fn several_at_once_equal_one_by_one<B: Backend>(b: &B, _: Tolerance) {
    let outputs = (size(), size(), size());
    let stored = (storage(), storage(), storage());
    for_all(
        (batch(), size(), outputs, stored, any::<u64>()),
        |(tokens, width, outs, stored, seed)| {
            let mut values = Values::new(seed);
            let x = upload(b, &values.draw(tokens * width), &[tokens, width]);
            let mut weight =
                |storage: Storage, out| matrix(b, storage.weight([out, width], &mut values));
            let u = weight(stored.0, outs.0);
            let v = weight(stored.1, outs.1);
            let w = weight(stored.2, outs.2);
            for (y, w) in done(b.linears(&x, [&u, &v, &w])).iter().zip([&u, &v, &w]) {
                assert_eq!(y.shape(), [tokens, w.rows()]);
                assert_same_bits(&done(b.download(y)), &download(b, b.linear(&x, w)));
            }
        },
    );
    let (x, narrow) = (upload(b, &[0.0; 3], &[1, 3]), matrix(b, zeros([1, 2])));
    assert_error(b.linears(&x, [&matrix(b, zeros([1, 3])), &narrow]), is_shape);
    assert!(done(b.linears(&x, [])).is_empty());
}

fn zeros(shape: [usize; 2]) -> Weight {
    done(Weight::encode(Dtype::F32, shape, &vec![0.0_f32; shape[0] * shape[1]]))
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: Backend>(b: &B, _: Tolerance) {
    let mut values = Values::new(1);
    let x = upload(b, &values.draw(5 * 65), &[5, 65]);
    let w = Weight::encode(Dtype::Bf16, [63, 65], &values.draw::<f64>(63 * 65));
    let w = matrix(b, done(w));
    assert_threads_change_no_bit(|| download(b, b.linear(&x, &w)));
}

/// A row of `x` that is not as long as one of `w` is an error, and so is a result that no memory
/// can hold; sizes of 0 are not.
pub fn wrong_shapes_are_errors<B: Backend>(b: &B, _: Tolerance) {
    let zero = |shape: [usize; 2]| matrix(b, zeros(shape));
    let w = zero([2, 3]);
    assert_eq!((w.rows(), w.cols()), (2, 3));
    for shape in [&[][..], &[1], &[2], &[3, 2], &[0, 2], &[4]] {
        let x = upload(b, &vec![0.0; shape.iter().product()], shape);
        assert_error(b.linear(&x, &w), is_shape);
    }
    let (x, w) = (upload(b, &[], &[1 << 40, 0]), zero([1 << 30, 0]));
    assert_error(b.linear(&x, &w), is_shape);
    let no_input = b.linear(&upload(b, &[], &[2, 0]), &zero([3, 0]));
    assert_close(&download(b, no_input), &[B::Scalar::default().as_f64(); 6], Tolerance::EXACT);
}
