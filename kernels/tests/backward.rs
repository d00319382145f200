//! Gradients of the reference in `f64` against differences of the operations themselves.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use latent_kernels::softmax::softmax_backward_in_place;
use latent_kernels::suite::differences::assert_gradient;
use latent_kernels::suite::{Values, for_some};
use latent_kernels::{Backend, Backward, Dtype, PairLayout, Reference, RopeTable, Weight, Yarn};
use ndarray::ArrayD;
use proptest::prelude::*;

const B: Reference<f64> = Reference::new();

fn up(values: &[f64], shape: &[usize]) -> ArrayD<f64> {
    B.upload(values, shape).unwrap()
}

fn down(x: &ArrayD<f64>) -> Vec<f64> {
    B.download(x).unwrap()
}

/// A loss of `y` whose gradient is `dy`.
fn loss(y: &ArrayD<f64>, dy: &[f64]) -> f64 {
    down(y).iter().zip(dy).map(|(y, dy)| y * dy).sum()
}

fn matrix(values: &[f64], shape: [usize; 2]) -> Weight {
    Weight::encode(Dtype::F64, shape, values).unwrap()
}

#[test]
fn linear_matches_differences() {
    for_some(
        12,
        (0..4_usize, 1..7_usize, 1..19_usize, any::<u64>()),
        |(tokens, out, width, seed)| {
            let mut values = Values::new(seed);
            let (x, w): (Vec<f64>, Vec<f64>) =
                (values.draw(tokens * width), values.draw(out * width));
            let dy: Vec<f64> = values.draw(tokens * out);
            let f = |x: &[f64], w: &[f64]| {
                loss(&B.linear(&up(x, &[tokens, width]), &matrix(w, [out, width])).unwrap(), &dy)
            };
            let d = up(&dy, &[tokens, out]);
            let weight = matrix(&w, [out, width]);
            let dx = B.linear_grad_input(&d, &weight).unwrap();
            assert_gradient(|x| f(x, &w), &x, &down(&dx), seed);
            let dw = B.linear_grad_weight(&up(&x, &[tokens, width]), &d, &weight).unwrap();
            assert_gradient(|w| f(&x, w), &w, &down(&dw), seed);
        },
    );
}

#[test]
fn rms_norm_matches_differences() {
    for_some(12, (0..4_usize, 1..19_usize, any::<u64>()), |(tokens, width, seed)| {
        let mut values = Values::new(seed);
        let (x, gain): (Vec<f64>, Vec<f64>) = (values.draw(tokens * width), values.draw(width));
        let dy: Vec<f64> = values.draw(tokens * width);
        // A large eps takes part in the result.
        let f = |x: &[f64], gain: &[f64]| {
            loss(&B.rms_norm(&up(x, &[tokens, width]), &up(gain, &[width]), 0.1).unwrap(), &dy)
        };
        let shape = [tokens, width];
        let (dx, d_gain) = B
            .rms_norm_backward(&up(&x, &shape), &up(&gain, &[width]), 0.1, &up(&dy, &shape))
            .unwrap();
        assert_gradient(|x| f(x, &gain), &x, &down(&dx), seed);
        assert_gradient(|gain| f(&x, gain), &gain, &down(&d_gain), seed);
    });
}

#[test]
fn rope_matches_differences() {
    let yarn = Yarn {
        factor: 40.0,
        original_max_position_embeddings: 64,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: Some(1.0),
        mscale_all_dim: Some(0.5),
    };
    for layout in [PairLayout::Interleaved, PairLayout::HalfSplit] {
        let table = RopeTable::new(6, 10_000.0, Some(&yarn), layout).unwrap();
        let mut values = Values::new(3);
        let (shape, positions) = ([3, 2, 9], [0, 7, 4000]);
        let (x, dy): (Vec<f64>, Vec<f64>) = (values.draw(54), values.draw(54));
        let f = |x: &[f64]| loss(&B.rope(&up(x, &shape), &table, &positions).unwrap(), &dy);
        let dx = B.rope_backward(&up(&dy, &shape), &table, &positions).unwrap();
        assert_gradient(f, &x, &down(&dx), 1);
    }
}

#[test]
fn softmax_matches_differences() {
    let mut values = Values::new(7);
    let x: Vec<f64> = values.draw(9).iter().map(|v: &f64| 3.0 * v).collect();
    let dy: Vec<f64> = values.draw(9);
    let f = |x: &[f64]| loss(&B.softmax(&up(x, &[9])).unwrap(), &dy);
    let mut dx = dy.clone();
    softmax_backward_in_place(&down(&B.softmax(&up(&x, &[9])).unwrap()), &mut dx);
    assert_gradient(f, &x, &dx, 1);
}

#[test]
fn swiglu_matches_differences() {
    let mut values = Values::new(4);
    let gate: Vec<f64> = values.draw(15).iter().map(|v: &f64| 6.0 * v).collect();
    let (up_, dy): (Vec<f64>, Vec<f64>) = (values.draw(15), values.draw(15));
    let shape = [3, 5];
    let f = |g: &[f64], u: &[f64]| loss(&B.swiglu(&up(g, &shape), &up(u, &shape)).unwrap(), &dy);
    let (d_gate, d_up) =
        B.swiglu_backward(&up(&gate, &shape), &up(&up_, &shape), &up(&dy, &shape)).unwrap();
    assert_gradient(|g| f(g, &up_), &gate, &down(&d_gate), 1);
    assert_gradient(|u| f(&gate, u), &up_, &down(&d_up), 1);
}

#[test]
fn gather_matches_differences() {
    let mut values = Values::new(5);
    let (w, dy): (Vec<f64>, Vec<f64>) = (values.draw(5 * 3), values.draw(4 * 3));
    let ids = [4, 0, 4, 2];
    let f = |w: &[f64]| loss(&B.gather(&matrix(w, [5, 3]), &ids).unwrap(), &dy);
    let dw = B.gather_backward(5, &ids, &up(&dy, &[4, 3])).unwrap();
    assert_gradient(f, &w, &down(&dw), 1);
}

#[test]
fn cross_entropy_matches_differences() {
    const SCALES: [f64; 3] = [0.25, -1.5, 3.0];
    let mut values = Values::new(6);
    let logits: Vec<f64> = values.draw(3 * 7).iter().map(|v: &f64| 4.0 * v).collect();
    let targets = [6, 0, 3];
    let f = |logits: &[f64]| {
        let (losses, _) = B.cross_entropy(&up(logits, &[3, 7]), &targets, &SCALES).unwrap();
        losses.iter().zip(SCALES).map(|(loss, scale)| scale * loss).sum()
    };
    let (_, gradient) = B.cross_entropy(&up(&logits, &[3, 7]), &targets, &SCALES).unwrap();
    assert_gradient(f, &logits, &down(&gradient), 1);
}

#[test]
#[should_panic(expected = "differences say")]
fn a_wrong_gradient_is_found() {
    assert_gradient(|x| x[0] * x[0], &[3.0], &[6.000_01], 1);
}
