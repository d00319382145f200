//! Whether a gradient is one: differences of the function itself, in `f64`.

use super::Values;

/// The step of the differences, whose error is its fourth power.
const STEP: f64 = 1e-3;

/// Proves that `gradient` is that of `f` at `x`: along random directions it is what differences of
/// `f` on both sides say, to 1e-6 of it.
///
/// ```
/// use latent_kernels::suite::differences::assert_gradient;
/// assert_gradient(|x| x[0] * x[0] * x[1], &[3.0, 0.5], &[3.0, 9.0], 1);
/// ```
///
/// # Panics
/// Where it is not, and where it is not as long as `x`.
#[track_caller]
pub fn assert_gradient(f: impl Fn(&[f64]) -> f64, x: &[f64], gradient: &[f64], seed: u64) {
    assert_eq!(x.len(), gradient.len(), "elements of the gradient");
    let mut values = Values::new(seed);
    for _ in 0..3 {
        let direction: Vec<f64> = values.draw(x.len());
        let at = |steps: f64| {
            let moved = x.iter().zip(&direction).map(|(x, d)| x + steps * STEP * d);
            f(&moved.collect::<Vec<f64>>())
        };
        let want = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * STEP);
        let got: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let allowed = 1e-6 * want.abs() + 1e-9;
        assert!(
            (got - want).abs() <= allowed,
            "along a direction of seed {seed}: the gradient says {got}, differences say {want}"
        );
    }
}
