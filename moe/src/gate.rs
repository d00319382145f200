//! The gate: which experts a token is sent to, and with what weight.
//!
//! | `topk_method` | chooses by | within | as in |
//! | --- | --- | --- | --- |
//! | `greedy` | score | all experts | V2-Lite |
//! | `group_limited_greedy` | score | the `topk_group` groups with the best single score | V2 |
//! | `noaux_tc` | score + bias | the `topk_group` groups with the largest sum of their two best biased scores | V3 |
//!
//! The experts of all other groups count as `-∞` (0 would beat a negative biased score). One group
//! restricts nothing. The weights are the chosen **unbiased** scores, divided by their sum plus
//! 1e-20 if `norm_topk_prob`, times `routed_scaling_factor`.
//!
//! # Shapes
//! - `logits`: `[token, n_routed_experts]`
//! - `bias`: `[n_routed_experts]`, with `noaux_tc` and with no other method
//! - returns for each token `num_experts_per_tok` experts, ascending, and their weights
//!
//! Ties go to the lowest index, of experts and of groups. A logit of `-∞` has the score 0. Each
//! token is routed by its own row alone, bit for bit; no tokens give an empty routing.
//!
//! # Source
//! DeepSeek-V2 (arXiv 2405.04434), sections 2.2.1 and 2.2.2; DeepSeek-V3 (arXiv 2412.19437),
//! section 2.1.2.

use latent_kernels::Scalar;
use latent_kernels::softmax::softmax_in_place;

use crate::{GateConfig, MoeError, ScoringFunc};

pub mod backward;
#[cfg(feature = "gpu")]
pub(crate) mod gpu;
pub(crate) mod reference;

/// Proves the settings and the shapes of a gate.
///
/// # Errors
/// [`MoeError::Config`] when the settings are not usable or the bias is missing or not wanted,
/// [`MoeError::Kernel`] when an array does not fit.
pub fn check(logits: &[usize], bias: Option<&[usize]>, gate: &GateConfig) -> Result<(), MoeError> {
    gate.validate()?;
    let experts = gate.n_routed_experts;
    if !matches!(logits, [_, columns] if *columns == experts) {
        return Err(MoeError::shape("route: logits", logits, format!("want [token, {experts}]")));
    }
    match bias {
        None if gate.has_bias() => {
            Err(MoeError::config("e_score_correction_bias", "none", "given: noaux_tc adds it"))
        }
        Some(shape) if !gate.has_bias() => {
            let found = format!("shape {shape:?}");
            Err(MoeError::config("e_score_correction_bias", found, "absent without noaux_tc"))
        }
        Some(shape) if shape != [experts] => {
            Err(MoeError::shape("route: bias", shape, format!("want [{experts}]")))
        }
        _ => Ok(()),
    }
}

/// Proves that every bias is a finite number.
///
/// # Errors
/// [`MoeError::Bias`] with the first that is not.
pub fn check_bias<T: Scalar>(bias: &[T]) -> Result<(), MoeError> {
    match bias.iter().position(|b| !b.is_finite()) {
        Some(expert) => Err(MoeError::Bias { expert, found: bias[expert].as_f64() }),
        None => Ok(()),
    }
}

/// The scores of all experts, before any choice: what the balance losses are made of.
///
/// # Shapes
/// - `logits`: `[token, experts]`, row by row
/// - returns the same shape, each score at least 0
///
/// ```
/// use latent_moe::{ScoringFunc, gate};
/// let scores = gate::scores(&[0.0, f64::NEG_INFINITY], 2, ScoringFunc::Sigmoid)?;
/// assert_eq!(scores, [0.5, 0.0]);
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
///
/// # Errors
/// [`MoeError::Kernel`] when `logits` is not made of rows of `experts`, [`MoeError::Logit`] at a
/// NaN or `+∞`, [`MoeError::NoScore`] when a softmax sees nothing but `-∞`.
pub fn scores<T: Scalar>(
    logits: &[T],
    experts: usize,
    scoring_func: ScoringFunc,
) -> Result<Vec<T>, MoeError> {
    check_logits(logits, experts)?;
    let mut scores = logits.to_vec();
    for (token, row) in scores.chunks_exact_mut(experts).enumerate() {
        match scoring_func {
            ScoringFunc::Softmax => {
                largest(token, row)?;
                softmax_in_place(row);
            }
            ScoringFunc::Sigmoid => row.iter_mut().for_each(|x| *x = sigmoid(*x)),
            ScoringFunc::SqrtSoftplus => row.iter_mut().for_each(|x| *x = softplus(*x).sqrt()),
        }
    }
    Ok(scores)
}

/// Proves that `logits` is made of rows of `experts`, without NaN or `+∞`.
pub(crate) fn check_logits<T: Scalar>(logits: &[T], experts: usize) -> Result<(), MoeError> {
    if experts == 0 || !logits.len().is_multiple_of(experts) {
        let wanted = format!("want rows of {experts} experts, at least 1");
        return Err(MoeError::shape("logits", &[logits.len()], wanted));
    }
    match logits.iter().position(|x| x.is_nan() || *x == T::infinity()) {
        Some(at) => {
            let (token, expert) = (at / experts, at % experts);
            Err(MoeError::Logit { token, expert, found: logits[at].as_f64() })
        }
        None => Ok(()),
    }
}

/// The largest logit of a row, which has one above `-∞`.
pub(crate) fn largest<T: Scalar>(token: usize, row: &[T]) -> Result<T, MoeError> {
    let max = row.iter().fold(T::neg_infinity(), |m, &x| m.max(x));
    if max == T::neg_infinity() { Err(MoeError::NoScore { token }) } else { Ok(max) }
}

pub(crate) fn sigmoid<T: Scalar>(x: T) -> T {
    // The exponential of a negative number: no overflow, and small scores keep their digits.
    let e = (-x.abs()).exp();
    if x >= T::zero() { (T::one() + e).recip() } else { e / (T::one() + e) }
}

/// `ln(1 + eˣ)`.
fn softplus<T: Scalar>(x: T) -> T {
    x.max(T::zero()) + (-x.abs()).exp().ln_1p()
}
