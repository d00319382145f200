//! Properties of [`Backward`]. The gradients of `Reference<f64>` are what is expected: tests of this
//! crate hold them to differences of the operations themselves.

use proptest::prelude::*;

use super::{
    Values, assert_error, assert_rows_stand_alone, assert_same_bits, assert_threads_change_no_bit,
    batch, done, download, for_all, is_index, is_shape, size, storage, upload, wide,
};
use crate::{
    Backend, Backward, Dtype, KernelError, PairLayout, Reference, RopeTable, Tensor, Tolerance,
    Weight, assert_close,
};

const EPS: f64 = 1e-6;

/// The definition's backend.
fn exact() -> Reference<f64> {
    Reference::new()
}

/// Values as the backend holds them.
fn rounded<B: Backend>(_: &B, values: &mut Values, n: usize) -> Vec<f64> {
    wide(&values.draw::<B::Scalar>(n))
}

/// Both gradients of the linear map follow their definition, in every stored dtype.
pub fn linear_follows_its_definition<B: Backward>(b: &B, tolerance: Tolerance) {
    let sizes = (batch(), size(), size());
    for_all((sizes, storage(), any::<u64>()), |((tokens, out, width), storage, seed)| {
        let mut values = Values::new(seed);
        let w = storage.weight([out, width], &mut values);
        let matrix = done(b.matrix(w.clone()));
        let w = done(Weight::encode(Dtype::F64, [out, width], &w.decode::<B::Scalar>()));
        let x = rounded(b, &mut values, tokens * width);
        let dy = rounded(b, &mut values, tokens * out);
        let (x_shape, dy_shape) = ([tokens, 1, width], [tokens, 1, out]);

        let got = done(b.linear_grad_input(&upload(b, &dy, &dy_shape), &matrix));
        assert_eq!(got.shape(), x_shape);
        let want = exact().linear_grad_input(&upload(&exact(), &dy, &dy_shape), &w);
        assert_close(&done(b.download(&got)), &download(&exact(), want), tolerance);

        let got = done(b.linear_grad_weight(
            &upload(b, &x, &x_shape),
            &upload(b, &dy, &dy_shape),
            &matrix,
        ));
        assert_eq!(got.shape(), [out, width]);
        let (x, dy) = (upload(&exact(), &x, &x_shape), upload(&exact(), &dy, &dy_shape));
        let want = exact().linear_grad_weight(&x, &dy, &w);
        assert_close(&done(b.download(&got)), &download(&exact(), want), tolerance);
    });
}

/// Both gradients of the norm follow their definition.
pub fn rms_norm_follows_its_definition<B: Backward>(b: &B, tolerance: Tolerance) {
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let mut values = Values::new(seed);
        // Rows of a length around 1: near 0 the gradient has no bound but the eps.
        let x: Vec<f64> =
            rounded(b, &mut values, rows * width).iter().map(|v| v + v.signum()).collect();
        let gain = rounded(b, &mut values, width);
        let dy = rounded(b, &mut values, rows * width);
        let shape = [rows, 1, width];
        let (dx, d_gain) = done(b.rms_norm_backward(
            &upload(b, &x, &shape),
            &upload(b, &gain, &[width]),
            EPS,
            &upload(b, &dy, &shape),
        ));
        assert_eq!((dx.shape(), d_gain.shape()), (&shape[..], &[width][..]));
        let e = exact();
        let (want_dx, want_gain) = done(e.rms_norm_backward(
            &upload(&e, &x, &shape),
            &upload(&e, &gain, &[width]),
            EPS,
            &upload(&e, &dy, &shape),
        ));
        assert_close(&done(b.download(&dx)), &done(e.download(&want_dx)), tolerance);
        assert_close(&done(b.download(&d_gain)), &done(e.download(&want_gain)), tolerance);
    });
}

/// The gradient of a rotation is its transpose: `rope(x) · dy = x · rope_backward(dy)`.
pub fn rope_is_the_transpose<B: Backward>(b: &B, tolerance: Tolerance) {
    let layouts = prop::sample::select(vec![PairLayout::Interleaved, PairLayout::HalfSplit]);
    for_all((batch(), 0..4_usize, layouts, any::<u64>()), |(tokens, pairs, layout, seed)| {
        let table = done(RopeTable::new(2 * pairs, 10_000.0, None, layout));
        let mut values = Values::new(seed);
        let shape = [tokens, 2, 2 * pairs + 3];
        let positions = values.indices(tokens, 5000);
        let n = shape.iter().product();
        let (x, dy) = (rounded(b, &mut values, n), rounded(b, &mut values, n));
        let y = wide(&download(b, b.rope(&upload(b, &x, &shape), &table, &positions)));
        let dx = done(b.rope_backward(&upload(b, &dy, &shape), &table, &positions));
        assert_eq!(dx.shape(), shape);
        let dx = wide(&done(b.download(&dx)));
        let want: Vec<f64> = dots(&y, &dy, n, tokens).collect();
        let got: Vec<f64> = dots(&x, &dx, n, tokens).collect();
        // Each is a sum of up to 18 products of rounded values.
        assert_close(&got, &want, Tolerance { atol: 4.0 * tolerance.atol, ..tolerance });
    });
}

/// The dot product of each token's part of two arrays of `n` elements.
fn dots<'a>(a: &'a [f64], b: &'a [f64], n: usize, tokens: usize) -> impl Iterator<Item = f64> + 'a {
    let width = (n / tokens.max(1)).max(1);
    a.chunks(width).zip(b.chunks(width)).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum())
}

/// Both gradients of the gate follow their definition, and a closed gate passes nothing.
pub fn swiglu_follows_its_definition<B: Backward>(b: &B, tolerance: Tolerance) {
    let both = |gate: &[f64], up: &[f64], dy: &[f64], shape: [usize; 2]| {
        let part = |x: &[f64]| upload(b, x, &shape);
        let (d_gate, d_up) = done(b.swiglu_backward(&part(gate), &part(up), &part(dy)));
        assert_eq!((d_gate.shape(), d_up.shape()), (&shape[..], &shape[..]));
        (done(b.download(&d_gate)), done(b.download(&d_up)))
    };
    for_all((batch(), size(), any::<u64>()), |(rows, width, seed)| {
        let (mut values, shape) = (Values::new(seed), [rows, width]);
        let gate: Vec<f64> =
            rounded(b, &mut values, rows * width).iter().map(|v| v * 8.0).collect();
        let up = rounded(b, &mut values, rows * width);
        let dy = rounded(b, &mut values, rows * width);
        let (d_gate, d_up) = both(&gate, &up, &dy, shape);
        let e = exact();
        let part = |x: &[f64]| upload(&e, x, &shape);
        let (want_gate, want_up) = done(e.swiglu_backward(&part(&gate), &part(&up), &part(&dy)));
        assert_close(&d_gate, &done(e.download(&want_gate)), tolerance);
        assert_close(&d_up, &done(e.download(&want_up)), tolerance);
    });
    let gate = [f64::NEG_INFINITY, -1e30, -200.0, 0.0, 200.0, 1e30];
    let (d_gate, d_up) = both(&gate, &[2.0; 6], &[1.0; 6], [2, 3]);
    assert_close(&d_gate, &[0.0, 0.0, 0.0, 1.0, 2.0, 2.0], tolerance);
    assert_close(&d_up, &[0.0, 0.0, 0.0, 0.0, 200.0, 1e30], tolerance);
}

/// Each row of an embedding gets the sum of what its uses got.
pub fn gather_follows_its_definition<B: Backward>(b: &B, tolerance: Tolerance) {
    for_all((batch(), 1..9_usize, size(), any::<u64>()), |(tokens, vocab, width, seed)| {
        let mut values = Values::new(seed);
        let ids = values.indices(tokens, vocab);
        let dy = rounded(b, &mut values, tokens * width);
        let mut want = vec![0.0; vocab * width];
        for (token, &id) in ids.iter().enumerate() {
            for i in 0..width {
                want[id * width + i] += dy[token * width + i];
            }
        }
        let ids: Vec<u32> = ids.iter().map(|&id| u32::try_from(id).expect("below 9")).collect();
        let dw = done(b.gather_backward(vocab, &ids, &upload(b, &dy, &[tokens, width])));
        assert_eq!(dw.shape(), [vocab, width]);
        assert_close(&done(b.download(&dw)), &want, tolerance);
    });
}

/// The loss is minus the logarithm of the target's softmax, and its gradient the softmax without it,
/// times the row's own scale.
pub fn cross_entropy_follows_its_definition<B: Backward>(b: &B, tolerance: Tolerance) {
    let vocabs = prop::sample::select(vec![1, 2, 3, 16, 17, 65]);
    for_all((batch(), vocabs, any::<u64>()), |(tokens, vocab, seed)| {
        let mut values = Values::new(seed);
        let logits: Vec<f64> =
            rounded(b, &mut values, tokens * vocab).iter().map(|v| v * 16.0).collect();
        let targets = values.indices(tokens, vocab);
        let scales: Vec<f64> = values.draw(tokens);
        let (mut want_losses, mut want) = (Vec::new(), Vec::new());
        for ((row, &target), scale) in logits.chunks(vocab).zip(&targets).zip(&scales) {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            want_losses.push(sum.ln() - row[target]);
            let hit = |i: usize| if i == target { 1.0 } else { 0.0 };
            want.extend(row.iter().enumerate().map(|(i, x)| scale * (x.exp() / sum - hit(i))));
        }
        let targets: Vec<u32> =
            targets.iter().map(|&t| u32::try_from(t).expect("below 66")).collect();
        let logits = upload(b, &logits, &[tokens, vocab]);
        let (losses, gradient) = done(b.cross_entropy(&logits, &targets, &scales));
        assert_eq!(gradient.shape(), [tokens, vocab]);
        let loss_tolerance = Tolerance { atol: 4.0 * tolerance.atol, ..tolerance };
        assert_close(&losses, &want_losses, loss_tolerance);
        assert_close(&done(b.download(&gradient)), &want, tolerance);
    });
    let huge = upload(b, &[1e30, -1e30, f64::NEG_INFINITY], &[1, 3]);
    let (losses, gradient) = done(b.cross_entropy(&huge, &[2], &[1.0]));
    assert_eq!(losses, [f64::INFINITY]);
    assert_close(&done(b.download(&gradient)), &[1.0, 0.0, -1.0], tolerance);
    let nan = upload(b, &[0.0, f64::NAN], &[1, 2]);
    assert!(done(b.cross_entropy(&nan, &[0], &[1.0])).0[0].is_nan());
}

/// A row's gradient has the bits that it has where all rows have its scale; a scale of 0 gives zeros, and
/// no scale changes a loss.
pub fn cross_entropy_scales_each_row_alone<B: Backward>(b: &B, _: Tolerance) {
    let scales = [0.5, -2.0, 0.0, 0.125, 1e-3];
    let mut values = Values::new(13);
    let logits = upload(b, &values.draw(5 * 33), &[5, 33]);
    let targets = [32, 0, 7, 16, 16];
    let of = |scales: &[f64]| {
        let (losses, gradient) = done(b.cross_entropy(&logits, &targets, scales));
        (losses, done(b.download(&gradient)))
    };
    let (losses, gradient) = of(&scales);
    for (row, scale) in scales.into_iter().enumerate() {
        let (equal_losses, equal) = of(&[scale; 5]);
        assert_same_bits(&losses, &equal_losses);
        assert_same_bits(&gradient[33 * row..][..33], &equal[33 * row..][..33]);
    }
    assert!(wide(&gradient[2 * 33..][..33]).iter().all(|&g| g == 0.0));
}

/// A row of a gradient has the same bits in any batch.
pub fn a_row_alone_equals_the_row_in_a_batch<B: Backward>(b: &B, _: Tolerance) {
    let (tokens, out, width) = (17, 65, 63);
    let mut values = Values::new(11);
    let drawn = values.draw::<f64>(out * width);
    let encoded = |dtype| done(b.matrix(done(Weight::encode(dtype, [out, width], &drawn))));
    let dy = values.draw::<f64>(tokens * out);
    let gain = upload(b, &values.draw(out), &[out]);
    let x = values.draw::<f64>(tokens * out);
    let part = |x: &[f64], rows: &std::ops::Range<usize>| {
        upload(b, &x[rows.start * out..rows.end * out], &[rows.len(), out])
    };
    for w in [Dtype::F32, Dtype::Bf16].map(encoded) {
        let dx = |rows| download(b, b.linear_grad_input(&part(&dy, &rows), &w));
        assert_rows_stand_alone(tokens, dx);
    }
    assert_rows_stand_alone(tokens, |rows| {
        let dx = b.rms_norm_backward(&part(&x, &rows), &gain, EPS, &part(&dy, &rows));
        download(b, dx.map(|(dx, _)| dx))
    });
    let targets: Vec<u32> = (0..17).map(|t| 3 * t % 65).collect();
    let scales = values.draw::<f64>(tokens);
    assert_rows_stand_alone(tokens, |rows| {
        let of_rows = b.cross_entropy(&part(&x, &rows), &targets[rows.clone()], &scales[rows]);
        download(b, of_rows.map(|(_, gradient)| gradient))
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: Backward>(b: &B, _: Tolerance) {
    let mut values = Values::new(12);
    let x = upload(b, &values.draw(65 * 63), &[65, 63]);
    let dy = upload(b, &values.draw(65 * 31), &[65, 31]);
    let drawn = values.draw::<f64>(31 * 63);
    for dtype in [Dtype::F32, Dtype::Bf16] {
        let w = done(b.matrix(done(Weight::encode(dtype, [31, 63], &drawn))));
        assert_threads_change_no_bit(|| download(b, b.linear_grad_weight(&x, &dy, &w)));
        assert_threads_change_no_bit(|| download(b, b.linear_grad_input(&dy, &w)));
    }
    let gain = upload(b, &values.draw(63), &[63]);
    assert_threads_change_no_bit(|| {
        download(b, b.rms_norm_backward(&x, &gain, EPS, &x).map(|(_, d_gain)| d_gain))
    });
    let ids: Vec<u32> = (0..65).map(|t| t * t % 7).collect();
    let scales = values.draw::<f64>(65);
    assert_threads_change_no_bit(|| download(b, b.gather_backward(7, &ids, &x)));
    assert_threads_change_no_bit(|| {
        download(b, b.cross_entropy(&x, &[5; 65], &scales).map(|(_, g)| g))
    });
}

/// Arguments that do not fit together are errors.
pub fn wrong_arguments_are_errors<B: Backward>(b: &B, _: Tolerance) {
    let zeros = |shape: &[usize]| upload(b, &vec![0.0; shape.iter().product()], shape);
    let w = done(Weight::encode(Dtype::F32, [2, 3], &[0.0_f32; 6]));
    let w = done(b.matrix(w));
    for shape in [&[][..], &[3], &[2, 3], &[3, 1]] {
        assert_error(b.linear_grad_input(&zeros(shape), &w), is_shape);
    }
    assert_error(b.linear_grad_weight(&zeros(&[4, 3]), &zeros(&[3, 2]), &w), is_shape);
    assert_error(b.linear_grad_weight(&zeros(&[4, 3]), &zeros(&[]), &w), is_shape);
    assert_error(b.linear_grad_weight(&zeros(&[4, 2]), &zeros(&[4, 3]), &w), is_shape);
    let (x, gain) = (zeros(&[2, 3]), zeros(&[3]));
    assert_error(b.rms_norm_backward(&x, &gain, EPS, &zeros(&[3, 2])), is_shape);
    assert_error(b.rms_norm_backward(&x, &zeros(&[2]), EPS, &x), is_shape);
    let setting = |e: &KernelError| matches!(e, KernelError::Setting { .. });
    assert_error(b.rms_norm_backward(&x, &gain, 0.0, &x), setting);
    assert_error(b.swiglu_backward(&x, &x, &zeros(&[6])), is_shape);
    assert_error(b.swiglu_backward(&x, &zeros(&[6]), &x), is_shape);
    let table = done(RopeTable::new(4, 10_000.0, None, PairLayout::Interleaved));
    assert_error(b.rope_backward(&zeros(&[2, 1, 3]), &table, &[0, 1]), is_shape);
    assert_error(b.gather_backward(4, &[0, 4], &x), is_index);
    assert_error(b.gather_backward(4, &[0], &x), is_shape);
    assert_error(b.cross_entropy(&x, &[0, 3], &[1.0; 2]), is_index);
    assert_error(b.cross_entropy(&x, &[0], &[1.0]), is_shape);
    assert_error(b.cross_entropy(&x, &[0, 1], &[1.0]), is_shape);
    assert_error(b.cross_entropy(&x, &[0, 1], &[1.0; 3]), is_shape);
}
