//! Gradients of a layer. Those of `Reference<f64>` are what is expected: tests of this crate hold them
//! to differences of the layer itself.

use latent_kernels::suite::{
    Values, assert_same_bits, assert_threads_change_no_bit, done, upload, wide,
};
use latent_kernels::{Reference, Tensor, Tolerance, compare};

use super::fixture::{Fixture, for_forms};
use crate::{AttendBackward, Form, MlaError, Written};

/// A result of a backward pass, on the host: `dx` under an empty name, then each weight's gradient.
pub type HostGradients<T> = Vec<(String, Vec<T>)>;

/// Sequences around the size of a page, one of them empty.
const LENGTHS: [usize; 4] = [3, 65, 0, 1];

/// The output of a layer for whole sequences of `lengths`, and its gradients from `dy`.
///
/// # Panics
/// When the layer refuses its arguments, or a gradient does not have the shape of its weight.
#[must_use]
pub fn gradients<B: AttendBackward>(
    f: &Fixture<'_, B>,
    lengths: &[usize],
    form: Form,
    x: &[f64],
    dy: &[f64],
) -> (Vec<B::Scalar>, HostGradients<B::Scalar>) {
    let (b, hidden) = (f.backend, f.config.hidden_size());
    let tokens = lengths.iter().sum();
    let mut cache = f.cache(lengths.iter().map(|l| l.next_multiple_of(64)).sum());
    let plan: Vec<_> = lengths.iter().map(|&l| (cache.new_sequence(), l)).collect();
    let step = done(cache.begin(&plan));
    let (x, dy) = (upload(b, x, &[tokens, hidden]), upload(b, dy, &[tokens, hidden]));
    let (y, saved) = done(f.layer.forward_saving(b, &x, &mut cache, &step, 0, form));
    assert!(saved.elements() > 0 || tokens == 0);
    let written = Written { cache: &cache, step: &step, layer: 0 };
    let (dx, of_weights) = done(f.layer.backward(b, &x, &saved, written, &dy));
    assert_eq!(dx.shape(), [tokens, hidden]);
    let mut all = vec![(String::new(), done(b.download(&dx)))];
    for spec in f.config.tensors() {
        let mut found = of_weights.clone().into_iter().filter(|(name, _)| *name == spec.name);
        let (name, gradient) = found.next().expect("a gradient for each weight");
        assert!(found.next().is_none(), "{name} twice");
        assert_eq!(gradient.shape(), spec.shape, "{name}");
        all.push((name, done(b.download(&gradient))));
    }
    assert_eq!(of_weights.into_iter().count() + 1, all.len());
    (done(b.download(&y)), all)
}

/// Inputs, and a gradient of the outputs, as the backend rounds them.
fn drawn<B: AttendBackward>(f: &Fixture<'_, B>, tokens: usize) -> (Vec<f64>, Vec<f64>) {
    let dy: Vec<B::Scalar> = Values::new(7).draw(tokens * f.config.hidden_size());
    (wide(&f.tokens(3, tokens)), wide(&dy))
}

/// Every gradient equals that of the definition, in each kind and form.
pub fn follow_their_definition<B: AttendBackward>(b: &B, tolerance: Tolerance) {
    for_forms(b, |f, form| {
        let (x, dy) = drawn(f, LENGTHS.iter().sum());
        let (_, got) = gradients(f, &LENGTHS, form, &x, &dy);
        let exact = Reference::<f64>::new();
        let (_, want) = gradients(&Fixture::new(&exact, &f.config), &LENGTHS, form, &x, &dy);
        for ((name, got), (_, want)) in got.iter().zip(&want) {
            // Sums over 69 tokens: what is allowed goes by the largest element.
            let largest = want.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
            let atol = tolerance.atol * largest;
            let outcome = compare(got, want, Tolerance { atol, ..tolerance });
            assert_eq!(outcome, Ok(()), "{name}");
        }
    });
}

/// What is kept for gradients changes no bit of the output.
pub fn saving_changes_no_bit<B: AttendBackward>(b: &B, _: Tolerance) {
    for_forms(b, |f, form| {
        let (x, dy) = drawn(f, 66);
        let (y, _) = gradients(f, &[66], form, &x, &dy);
        assert_same_bits(&y, &f.alone(&f.tokens(3, 66), form));
    });
}

/// The gradient by one sequence's inputs has the same bits whatever else is in the batch.
pub fn batch_mates_change_no_bit<B: AttendBackward>(b: &B, _: Tolerance) {
    for_forms(b, |f, form| {
        let hidden = f.config.hidden_size();
        let (x, dy) = drawn(f, 3 + 66);
        let (_, together) = gradients(f, &[3, 66], form, &x, &dy);
        let (_, alone) = gradients(f, &[66], form, &x[3 * hidden..], &dy[3 * hidden..]);
        assert_same_bits(&together[0].1[3 * hidden..], &alone[0].1);
    });
}

/// The number of threads changes no bit.
pub fn threads_change_no_bit<B: AttendBackward>(b: &B, _: Tolerance) {
    for_forms(b, |f, form| {
        let (x, dy) = drawn(f, LENGTHS.iter().sum());
        assert_threads_change_no_bit(|| {
            let (_, all) = gradients(f, &LENGTHS, form, &x, &dy);
            all.into_iter().flat_map(|(_, gradient)| gradient).collect()
        });
    });
}

/// No token has gradients of 0, and a sequence that is continued is an error, as is a form that is not
/// fixed.
pub fn edges<B: AttendBackward>(b: &B, _: Tolerance) {
    for_forms(b, |f, form| {
        let (y, all) = gradients(f, &[0], form, &[], &[]);
        assert!(y.is_empty());
        assert!(all.iter().flat_map(|(_, gradient)| gradient).all(|v| *v == B::Scalar::default()));

        let hidden = f.config.hidden_size();
        let mut cache = f.cache(64);
        let id = cache.new_sequence();
        let _ = f.step(&mut cache, &[(id, &f.tokens(1, 2))], form);
        let step = done(cache.begin(&[(id, 1)]));
        let x = upload(b, &wide(&f.tokens(2, 1)), &[1, hidden]);
        let (_, saved) = done(f.layer.forward_saving(b, &x, &mut cache, &step, 0, form));
        let written = Written { cache: &cache, step: &step, layer: 0 };
        let continued = f.layer.backward(b, &x, &saved, written, &x);
        assert!(matches!(continued, Err(MlaError::Kernel(_))), "{continued:?}");
        if let crate::AttentionConfig::Latent(_) = f.config {
            let auto = f.layer.forward_saving(b, &x, &mut cache, &step, 0, Form::Auto);
            assert!(matches!(auto, Err(MlaError::Config { field: "form", .. })));
        }
    });
}
