//! AdamW: Adam with decoupled weight decay.

use latent_kernels::Scalar;
use rayon::prelude::*;

use super::CHUNK;
use super::error::{OptimError, below_one, not_negative, wanted};

/// AdamW's settings; the learning rate is given with each step.
///
/// With gradient `g` and step `t`, counted from 1, each element `p` moves by
///
/// ```text
/// p <- p (1 - lr weight_decay)
/// m <- beta1 m + (1 - beta1) g
/// v <- beta2 v + (1 - beta2) g²
/// p <- p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
/// ```
///
/// which is `torch.optim.AdamW`, operation by operation. What depends on the step alone is computed
/// in `f64`, once, and rounded; elements are computed in the type of the parameters. A gradient of 0
/// adds to nothing: after zeros alone an element moves by its decay.
///
/// The default is DeepSeek-V3's.
///
/// ```
/// let v3 = latent_train::AdamW::default();
/// assert_eq!((v3.beta1, v3.beta2, v3.eps, v3.weight_decay), (0.9, 0.95, 1e-8, 0.1));
/// ```
///
/// # Source
/// Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (arXiv 1711.05101), algorithm 2;
/// DeepSeek-V3 (arXiv 2412.19437), section 4.2. V3's `eps` is not published: it is torch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// How much of the mean gradient is kept in a step, in `[0, 1)`.
    pub beta1: f64,
    /// How much of the mean square is kept in a step, in `[0, 1)`.
    pub beta2: f64,
    /// What is added to the root of the mean square, above 0 in the parameters' type.
    pub eps: f64,
    /// The share of a decayed weight that is taken off in a step, per unit of learning rate.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1 }
    }
}

impl AdamW {
    /// Proves that the settings mean something for parameters in `T`.
    ///
    /// # Errors
    /// [`OptimError::Setting`] when a beta is not in `[0, 1)`, `eps` is not above 0 once it is
    /// rounded to `T`, or the decay is negative or not finite.
    pub fn validate<T: Scalar>(&self) -> Result<(), OptimError> {
        below_one("adamw.beta1", self.beta1)?;
        below_one("adamw.beta2", self.beta2)?;
        let eps = T::from_f64(self.eps);
        let range = format!("a finite number above 0 in {}", T::NAME);
        wanted(eps > T::zero() && eps.is_finite(), "adamw.eps", self.eps, range)?;
        not_negative("adamw.weight_decay", self.weight_decay)
    }

    /// What step `step`, counted from 1, does to every element.
    pub(super) fn at<T: Scalar>(&self, step: u64, lr: f64, decayed: bool) -> ElementStep<T> {
        let correction = |beta: f64| 1.0 - beta.powf(step as f64);
        let decay = if decayed { self.weight_decay } else { 0.0 };
        ElementStep {
            kept: T::from_f64(1.0 - lr * decay),
            betas: [self.beta1, self.beta2].map(T::from_f64),
            rests: [1.0 - self.beta1, 1.0 - self.beta2].map(T::from_f64),
            root: T::from_f64(correction(self.beta2).sqrt()),
            eps: T::from_f64(self.eps),
            size: T::from_f64(lr / correction(self.beta1)),
        }
    }
}

/// AdamW's coefficients in one step.
#[derive(Debug, Clone, Copy)]
pub(super) struct ElementStep<T> {
    kept: T,
    betas: [T; 2],
    rests: [T; 2],
    root: T,
    eps: T,
    size: T,
}

impl<T: Scalar> ElementStep<T> {
    /// Moves a tensor and its moments, all equally long. Threads share it by chunks; an element's
    /// bits depend on that element alone.
    pub(super) fn apply(self, values: &mut [T], gradient: &[T], m: &mut [T], v: &mut [T]) {
        if values.len() <= CHUNK {
            return self.apply_chunk(values, gradient, m, v);
        }
        values
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK)))
            .for_each(|((values, gradient), (m, v))| self.apply_chunk(values, gradient, m, v));
    }

    fn apply_chunk(self, values: &mut [T], gradient: &[T], m: &mut [T], v: &mut [T]) {
        for (((p, &g), m), v) in values.iter_mut().zip(gradient).zip(m).zip(v) {
            *m = self.betas[0] * *m + self.rests[0] * g;
            *v = self.betas[1] * *v + self.rests[1] * (g * g);
            let denominator = v.sqrt() / self.root + self.eps;
            *p = *p * self.kept - self.size * *m / denominator;
        }
    }
}
