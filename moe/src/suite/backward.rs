//! Gradients of a layer. Those of `Reference<f64>` are what is expected: tests of this crate hold them
//! to differences of the layer itself.

use latent_kernels::suite::{
    Values, assert_same_bits, assert_threads_change_no_bit, done, for_some, upload, wide,
};
use latent_kernels::{Reference, Tensor, Tolerance, compare};
use proptest::prelude::*;

use super::layer::{Sample, samples};
use crate::balance::BalanceLosses;
use crate::{ExpertsBackward, MoeError};

/// The losses on the router of every case: all of them.
pub const LOSSES: BalanceLosses = BalanceLosses { seq_aux: 0.3, sequence: 0.7, z: 0.2 };

/// What a layer makes of some tokens, and its gradients on the host.
#[derive(Debug)]
pub struct Outcome<T> {
    /// `[token, hidden]`
    pub y: Vec<T>,
    /// What [`LOSSES`] are for these tokens, as one sequence.
    pub balance: f64,
    /// By the input under an empty name, then by each weight.
    pub gradients: Vec<(String, Vec<T>)>,
}

/// Runs a layer on `x` and back from `dy`, [`LOSSES`] included.
///
/// # Panics
/// When the layer refuses its arguments, or a gradient does not have the shape of its weight.
#[must_use]
pub fn outcome<B: ExpertsBackward>(
    b: &B,
    sample: &Sample,
    x: &[f64],
    dy: &[f64],
) -> Outcome<B::Scalar> {
    let (layer, hidden) = (sample.layer(b), sample.config.hidden_size);
    let shape = [x.len() / hidden, hidden];
    let (x, dy) = (upload(b, x, &shape), upload(b, dy, &shape));
    let (y, saved) = done(layer.forward_saving(b, &x));
    assert!(saved.elements() > 0 || shape[0] == 0);
    let (balance, d_logits) = done(layer.balance(b, &saved, &LOSSES, &[shape[0]]));
    let (dx, of_weights) = done(layer.backward(b, &x, &saved, &dy, Some(&d_logits)));
    assert_eq!(dx.shape(), shape);
    let mut gradients = vec![(String::new(), done(b.download(&dx)))];
    for spec in sample.config.tensors() {
        let mut found = of_weights.clone().into_iter().filter(|(name, _)| *name == spec.name);
        if spec.name.ends_with("bias") {
            assert!(found.next().is_none(), "the bias has no gradient");
            continue;
        }
        let (name, gradient) = found.next().expect("a gradient for each weight");
        assert_eq!(gradient.shape(), spec.shape, "{name}");
        gradients.push((name, done(b.download(&gradient))));
    }
    assert_eq!(of_weights.into_iter().count() + 1, gradients.len());
    Outcome { y: done(b.download(&y)), balance, gradients }
}

/// Layers with inputs and a gradient of their outputs.
fn cases() -> impl Strategy<Value = (Sample, Vec<f64>)> {
    (samples(), any::<u64>()).prop_map(|(sample, seed)| {
        let dy = wide(&Values::new(seed).draw::<f32>(sample.x.len()));
        (sample, dy)
    })
}

/// Every gradient, and the losses on the router, equal those of the definition.
pub fn follow_their_definition<B: ExpertsBackward>(b: &B, tolerance: Tolerance) {
    for_some(64, cases(), |(sample, dy)| {
        let exact = outcome(&Reference::<f64>::new(), &sample, &sample.x, &dy);
        let got = outcome(b, &sample, &sample.x, &dy);
        let close = |got: &[B::Scalar], want: &[f64], name: &str| {
            // Where the gate's softmax or sum is steep, so is what is allowed.
            let largest = want.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
            let atol = 4.0 * tolerance.atol * largest;
            assert_eq!(compare(got, want, Tolerance { atol, ..tolerance }), Ok(()), "{name}");
        };
        close(&got.y, &exact.y, "y");
        for ((name, got), (_, want)) in got.gradients.iter().zip(&exact.gradients) {
            close(got, want, name);
        }
        let allowed = Tolerance { atol: 4.0 * tolerance.atol, ..tolerance };
        assert_eq!(compare(&[got.balance], &[exact.balance], allowed), Ok(()), "balance");
    });
}

/// What is kept for gradients changes no bit of the output.
pub fn saving_changes_no_bit<B: ExpertsBackward>(b: &B, _: Tolerance) {
    for_some(48, cases(), |(sample, dy)| {
        let (y, _) = sample.forward(b, &sample.x);
        assert_same_bits(&outcome(b, &sample, &sample.x, &dy).y, &y);
    });
}

/// The gradient by one token's input has the same bits alone as in a batch, losses on the router left
/// out: those join the tokens of a sequence.
pub fn batch_mates_change_no_bit<B: ExpertsBackward>(b: &B, _: Tolerance) {
    for_some(48, cases(), |(sample, dy)| {
        let (layer, hidden) = (sample.layer(b), sample.config.hidden_size);
        let dx = |rows: std::ops::Range<usize>| {
            let part = |v: &[f64]| {
                upload(b, &v[rows.start * hidden..rows.end * hidden], &[rows.len(), hidden])
            };
            let (x, dy) = (part(&sample.x), part(&dy));
            let (_, saved) = done(layer.forward_saving(b, &x));
            let (dx, _) = done(layer.backward(b, &x, &saved, &dy, None));
            done(b.download(&dx))
        };
        latent_kernels::suite::assert_rows_stand_alone(sample.x.len() / hidden, dx);
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: ExpertsBackward>(b: &B, _: Tolerance) {
    for_some(8, cases(), |(sample, dy)| {
        assert_threads_change_no_bit(|| {
            let all = outcome(b, &sample, &sample.x, &dy).gradients;
            all.into_iter().flat_map(|(_, gradient)| gradient).collect()
        });
    });
}

/// No tokens have gradients of 0; a gradient of other tokens is an error, and so is what was saved of others.
pub fn edges<B: ExpertsBackward>(b: &B, _: Tolerance) {
    for_some(16, cases(), |(sample, dy)| {
        let none = outcome(b, &sample, &[], &[]);
        assert_eq!((none.y.len(), none.balance), (0, 0.0));
        let all = none.gradients.iter().flat_map(|(_, gradient)| gradient);
        assert!(all.into_iter().all(|v| *v == <B::Scalar as Default>::default()));

        let (layer, hidden) = (sample.layer(b), sample.config.hidden_size);
        let tokens = sample.x.len() / hidden;
        let x = upload(b, &sample.x, &[tokens, hidden]);
        let (_, saved) = done(layer.forward_saving(b, &x));
        let more = upload(b, &[&dy[..], &dy[..]].concat(), &[2 * tokens, hidden]);
        let result = layer.backward(b, &x, &saved, &more, None);
        assert!(matches!(result, Err(MoeError::Kernel(_))), "{result:?}");
        let (_, of_more) = done(layer.forward_saving(b, &more));
        let result = layer.backward(b, &x, &of_more, &x, None);
        assert!(matches!(result, Err(MoeError::Kernel(_))), "{result:?}");
    });
}
