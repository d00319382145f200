//! What the benches share: nothing is timed that has not been verified.
//!
//! A bench computes its result once, holds it to the operation's definition with [`verify`], and
//! only then times it. `cargo bench -p latent-bench -- --test` verifies everything and runs each
//! bench once.

use latent_kernels::{Scalar, Tolerance, compare};

/// Sums of a thousand products around 1 in `f32`.
pub const SUMS: Tolerance = Tolerance { atol: 1e-4, rtol: 1e-5 };

/// Proves that the result which `bench` is about to time is the wanted one.
///
/// ```
/// use latent_bench::verify;
/// use latent_kernels::Tolerance;
/// verify("linear/bf16", &[1.0_f32, 2.0], &[1.0_f64, 2.0], Tolerance::F32);
/// ```
///
/// # Panics
/// With the bench's name and the worst element when it is not: wrong results are not timed.
pub fn verify<G: Scalar, W: Scalar>(bench: &str, got: &[G], want: &[W], tolerance: Tolerance) {
    if let Err(mismatch) = compare(got, want, tolerance) {
        panic!("{bench}: not timed, {mismatch}");
    }
}
