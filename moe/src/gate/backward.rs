//! The gradients of the gate, through the weights of the experts it chose. Which experts those are, and
//! the bias that took part in the choice, have none.
//!
//! With the scores `s`, the chosen experts `C` and the scale `a`: `w_e = a s_e / D` where
//! `D = Σ_C s + 1e-20` if `norm_topk_prob`, else 1, so
//!
//! `ds_e = a (dw_e / D - [norm] Σ_C dw s / D²)` for `e` in `C`, 0 elsewhere,
//!
//! and then through the score of each logit.

use latent_kernels::{KernelError, Scalar};

use crate::gate::{scores, sigmoid};
use crate::{GateConfig, MoeError, Routing, ScoringFunc};

/// Proves the arguments of a gate's gradient.
///
/// # Errors
/// [`MoeError::Config`] when the settings are not usable, [`MoeError::Kernel`] when an array does not
/// fit the routing, [`MoeError::Routing`] when that is not of this gate.
pub fn check(
    logits: &[usize],
    routing: &Routing,
    gate: &GateConfig,
    d_weights: &[usize],
) -> Result<(), MoeError> {
    gate.validate()?;
    let (n, k) = (gate.n_routed_experts, gate.num_experts_per_tok);
    for (name, found, wanted) in [
        ("n_routed_experts", routing.n_routed_experts(), n),
        ("num_experts_per_tok", routing.num_experts_per_tok(), k),
    ] {
        if found != wanted {
            return Err(MoeError::routing(name, found, format!("{wanted}, as the gate has")));
        }
    }
    let tokens = routing.tokens();
    KernelError::check_shape("route: logits", logits, &[tokens, n])?;
    Ok(KernelError::check_shape("route: d_weights", d_weights, &[tokens, k])?)
}

/// The gradient by the logits, `[token, expert]`, from that by the weights; arguments were proved by
/// [`check`].
pub(crate) fn route_backward<T: Scalar>(
    logits: &[T],
    routing: &Routing,
    gate: &GateConfig,
    d_weights: &[T],
) -> Result<Vec<T>, MoeError> {
    let (n, k) = (gate.n_routed_experts, gate.num_experts_per_tok);
    let scores = scores(logits, n, gate.scoring_func)?;
    let scale = T::from_f64(gate.routed_scaling_factor);
    let mut d_scores = vec![T::zero(); scores.len()];
    for (token, d_weights) in d_weights.chunks_exact(k).enumerate() {
        let row = token * n..(token + 1) * n;
        let (s, d_s) = (&scores[row.clone()], &mut d_scores[row]);
        let chosen = routing.token(token).0;
        let sum = |f: &dyn Fn(usize, usize) -> T| {
            chosen.iter().enumerate().fold(T::zero(), |sum, (i, &e)| sum + f(i, e))
        };
        let (divisor, shared) = if gate.norm_topk_prob {
            let divisor = sum(&|_, e| s[e]) + T::from_f64(1e-20);
            (divisor, sum(&|i, e| d_weights[i] * (s[e] / divisor)))
        } else {
            (T::one(), T::zero())
        };
        for (&dw, &e) in d_weights.iter().zip(chosen) {
            d_s[e] = scale * (dw - shared) / divisor;
        }
    }
    scores_backward(logits, &scores, n, gate.scoring_func, &mut d_scores);
    Ok(d_scores)
}

/// Turns the gradient by scores into that by logits, in place; both are rows of `experts`.
pub(crate) fn scores_backward<T: Scalar>(
    logits: &[T],
    scores: &[T],
    experts: usize,
    scoring_func: ScoringFunc,
    d: &mut [T],
) {
    match scoring_func {
        ScoringFunc::Softmax => {
            for (s, d) in scores.chunks_exact(experts).zip(d.chunks_exact_mut(experts)) {
                latent_kernels::softmax::softmax_backward_in_place(s, d);
            }
        }
        ScoringFunc::Sigmoid => {
            for (d, &s) in d.iter_mut().zip(scores) {
                *d *= s * (T::one() - s);
            }
        }
        // A score of 0 is that of -∞, where the slope has gone to 0.
        ScoringFunc::SqrtSoftplus => {
            for ((d, &s), &x) in d.iter_mut().zip(scores).zip(logits) {
                *d *= if s > T::zero() { sigmoid(x) / (s + s) } else { T::zero() };
            }
        }
    }
}
