//! Every operation against the reference in `f64`, relative to the largest element of the result.

use latent_kernels::suite::{Values, wide};
use latent_kernels::{
    Backend, Dtype, KernelError, PairLayout, Reference, RopeTable, Scalar, Weight, max_difference,
};

use super::gpu;

/// What a backend makes of `x` `[rows, width]`.
fn of<B: Backend>(
    b: &B,
    x: &[f32],
    shape: &[usize],
    run: impl FnOnce(B::Tensor) -> Result<B::Tensor, KernelError>,
) -> Vec<B::Scalar> {
    let x: Vec<B::Scalar> = x.iter().map(|&v| Scalar::from_f32(v)).collect();
    b.upload(&x, shape).and_then(run).and_then(|y| b.download(&y)).expect("it fits")
}

/// Values in the backend's own type, of one axis.
fn vector<B: Backend>(b: &B, values: &[f32]) -> Result<B::Tensor, KernelError> {
    let values: Vec<B::Scalar> = values.iter().map(|&v| Scalar::from_f32(v)).collect();
    b.upload(&values, &[values.len()])
}

/// Holds every operation on `rows` rows of `width` elements to the reference.
fn assert_operations_follow_the_reference(rows: usize, width: usize) {
    let mut values = Values::new((rows * width) as u64);
    let x: Vec<f32> = values.draw(rows * width);
    let gain: Vec<f32> = values.draw(width);
    let shape = [rows, width];
    let ids: Vec<u32> = [2, 0, 1].into_iter().cycle().take(rows).collect();
    let positions: Vec<usize> = (0..rows).rev().collect();
    macro_rules! follows {
        ($name:literal, $b:ident, $x:ident, $y:expr) => {
            let want = {
                let $b = &Reference::<f64>::new();
                of($b, &x, &shape, |$x| $y)
            };
            let got = {
                let $b = &gpu();
                of($b, &x, &shape, |$x| $y)
            };
            let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            let difference = max_difference(&wide(&got), &want);
            let of = format!("{} of {rows} x {width}", $name);
            assert!(difference <= 1e-5 * scale, "{of}: off by {difference:e} of {scale:e}");
        };
    }
    for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::F8E4m3] {
        let w = Weight::encode(dtype, [3, width], &values.draw::<f32>(3 * width)).expect("fits");
        follows!("linear", b, x, b.linear(&x, &b.matrix(w.clone())?));
        follows!("gather", b, _x, b.gather(&b.matrix(w.clone())?, &ids));
    }
    follows!("rms_norm", b, x, b.rms_norm(&x, &vector(b, &gain)?, 1e-6));
    follows!("softmax", b, x, b.softmax(&x));
    follows!("swiglu", b, x, b.swiglu(&x, &x));
    follows!("add", b, x, b.add(&x, &x));
    follows!("select_rows", b, x, b.select_rows(&x, &positions));
    follows!(
        "columns",
        b,
        x,
        b.split_columns(&x, width / 2).and_then(|(l, r)| b.join_columns(&r, &l))
    );
    for layout in [PairLayout::Interleaved, PairLayout::HalfSplit] {
        let table = RopeTable::new(width / 2 * 2, 1e4, None, layout).expect("even");
        let heads = [rows, 1, width];
        follows!("rope", b, x, b.rope(&b.reshape(x, &heads)?, &table, &positions));
    }
}

#[test]
fn operations_follow_the_reference_around_every_edge() {
    for width in [1, 31, 33, 36, 127, 128, 129, 512, 576] {
        for rows in [0, 1, 9, 65] {
            assert_operations_follow_the_reference(rows, width);
        }
    }
    assert_operations_follow_the_reference(2, 7168);
}

#[test]
fn more_rows_than_an_axis_of_a_grid_has_cubes_follow_the_reference() {
    assert_operations_follow_the_reference(70_000, 8);
}

#[test]
fn the_largest_of_a_row_is_found_wherever_it_lies() {
    for at in [0, 1, 127, 128, 129, 255, 256, 999] {
        let mut x = vec![0.0; 1000];
        // Without the shift by the largest, its exponential would be infinite.
        x[at] = 300.0;
        let y = gpu().upload(&x, &[1, 1000]).and_then(|x| gpu().softmax(&x));
        let y = y.and_then(|y| gpu().download(&y)).expect("it fits");
        x[at] = 1.0;
        assert!(max_difference(&y, &x) < 1e-6, "at {at}");
    }
}
