//! How evenly experts are used, and what makes them even. Plain functions on the host.
//!
//! The *load* of an expert is the number of tokens sent to it. All losses are in `f64` and take
//! the scores of [`gate::scores`](crate::gate::scores), `[token, expert]` row by row, of the same
//! tokens as the routing. No tokens: no load, no violation, no loss (0).

use latent_kernels::KernelError;

use crate::gate::{check_logits, largest};
use crate::{MoeError, Routing};

mod backward;

pub use backward::BalanceLosses;

/// The number of tokens sent to each expert, `[n_routed_experts]`.
///
/// ```
/// use latent_moe::{Routing, balance};
/// let routing = Routing::new(3, 2, vec![0, 2, 1, 2], vec![0.5; 4])?;
/// assert_eq!(balance::load(&routing), [1, 1, 2]);
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
#[must_use]
pub fn load(routing: &Routing) -> Vec<usize> {
    let mut load = vec![0; routing.n_routed_experts()];
    for &expert in routing.experts() {
        load[expert] += 1;
    }
    load
}

/// The maximal violation of balance, `max load / mean load - 1`: 0 when even, 0 without load.
///
/// ```
/// use latent_moe::balance::max_vio;
/// assert_eq!(max_vio(&[1, 1, 4]), 1.0); // mean 2
/// assert_eq!(max_vio(&[0, 0]), 0.0);
/// ```
///
/// # Source
/// Wang et al., *Auxiliary-Loss-Free Load Balancing* (arXiv 2408.15664), equation 4.
#[must_use]
pub fn max_vio(load: &[usize]) -> f64 {
    let total: f64 = load.iter().map(|&l| l as f64).sum();
    match load.iter().max() {
        Some(&max) if max > 0 => max as f64 * load.len() as f64 / total - 1.0,
        _ => 0.0,
    }
}

/// The loss-free rule, `b_i += gamma * sign(mean load - load_i)`: once per step and layer, outside
/// of any gradient. An expert with exactly the mean load keeps its bias. V3 uses 1e-3.
///
/// ```
/// use latent_moe::balance::update_bias;
/// let mut bias = [0.0, 0.0, 0.0];
/// update_bias(&mut bias, &[1, 2, 3], 0.5)?;
/// assert_eq!(bias, [0.5, 0.0, -0.5]);
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
///
/// # Errors
/// [`MoeError::Kernel`] when there is not one load for each bias, or `gamma` is negative or not
/// finite; nothing is changed then.
///
/// # Source
/// Wang et al. (arXiv 2408.15664), algorithm 1; DeepSeek-V3 (arXiv 2412.19437), section 2.1.2.
pub fn update_bias(bias: &mut [f64], load: &[usize], gamma: f64) -> Result<(), MoeError> {
    if load.len() != bias.len() {
        let wanted = format!("want one for each of {} biases", bias.len());
        return Err(MoeError::shape("update_bias: load", &[load.len()], wanted));
    }
    coefficient("gamma", gamma)?;
    // `mean > load` without a division: the sign at equality is exact.
    let total: u128 = load.iter().map(|&l| l as u128).sum();
    for (b, &l) in bias.iter_mut().zip(load) {
        match total.cmp(&(l as u128 * load.len() as u128)) {
            std::cmp::Ordering::Greater => *b += gamma,
            std::cmp::Ordering::Less => *b -= gamma,
            std::cmp::Ordering::Equal => {}
        }
    }
    Ok(())
}

/// V3's sequence-wise loss, `alpha Σ_i f_i P_i` of each sequence, averaged over the sequences.
///
/// `f_i = N / (K T) Σ_t [i chosen at t]` and `P_i = mean_t s_it / Σ_j s_jt` with `N` experts, `K`
/// of them chosen, `T` tokens. `lengths` are the sequences' numbers of tokens, one after the
/// other; an empty sequence does not count. A token whose scores are all 0 adds nothing to `P`.
/// Even use of the experts gives `alpha`. V3 uses an `alpha` of 1e-4.
///
/// ```
/// use latent_moe::{Routing, balance};
/// // One sequence of two tokens, both sent to expert 0: f = [2, 0], P = [0.75, 0.25].
/// let routing = Routing::new(2, 1, vec![0, 0], vec![1.0; 2])?;
/// let loss = balance::sequence_loss(&[0.75, 0.25, 0.375, 0.125], &routing, &[2], 1.0)?;
/// assert_eq!(loss, 1.5);
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
///
/// # Errors
/// [`MoeError::Kernel`] when the scores or the lengths do not fit the routing, or `alpha` is
/// negative or not finite.
///
/// # Source
/// DeepSeek-V3 (arXiv 2412.19437), equations 17 to 20.
pub fn sequence_loss(
    scores: &[f64],
    routing: &Routing,
    lengths: &[usize],
    alpha: f64,
) -> Result<f64, MoeError> {
    balance_loss(scores, routing, lengths, alpha, |row| {
        let sum: f64 = row.iter().sum();
        if sum > 0.0 { sum.recip() } else { 0.0 }
    })
}

/// V2's auxiliary loss as released (`seq_aux`): [`sequence_loss`] with the scores as they are,
/// `P_i = mean_t s_it`. With softmax scores the two are equal up to rounding.
///
/// ```
/// use latent_moe::{Routing, balance};
/// let routing = Routing::new(2, 1, vec![0, 0], vec![1.0; 2])?;
/// let loss = balance::seq_aux_loss(&[0.75, 0.25, 0.25, 0.75], &routing, &[2], 1.0)?;
/// assert_eq!(loss, 1.0); // f = [2, 0], P = [0.5, 0.5]
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
///
/// # Errors
/// Those of [`sequence_loss`].
///
/// # Source
/// DeepSeek-V2 (arXiv 2405.04434), equations 23 to 25, per sequence.
pub fn seq_aux_loss(
    scores: &[f64],
    routing: &Routing,
    lengths: &[usize],
    alpha: f64,
) -> Result<f64, MoeError> {
    balance_loss(scores, routing, lengths, alpha, |_| 1.0)
}

/// `alpha Σ_i f_i mean_t(factor(s_t) s_it)` of each sequence, averaged over those with tokens.
fn balance_loss(
    scores: &[f64],
    routing: &Routing,
    lengths: &[usize],
    alpha: f64,
    factor: impl Fn(&[f64]) -> f64,
) -> Result<f64, MoeError> {
    let (n, k, tokens) =
        (routing.n_routed_experts(), routing.num_experts_per_tok(), routing.tokens());
    coefficient("alpha", alpha)?;
    if scores.len() != tokens * n {
        let wanted = format!("want [{tokens}, {n}] by the routing");
        return Err(MoeError::shape("balance: scores", &[scores.len()], wanted));
    }
    if lengths.iter().try_fold(0_usize, |sum, &l| sum.checked_add(l)) != Some(tokens) {
        let wanted = format!("want lengths that sum to {tokens} tokens");
        return Err(MoeError::shape("balance: lengths", lengths, wanted));
    }
    let (mut loss, mut sequences, mut start) = (0.0, 0_usize, 0);
    for &length in lengths.iter().filter(|&&l| l > 0) {
        let mut chosen = vec![0.0; n];
        let mut mass = vec![0.0; n];
        for token in start..start + length {
            for &expert in routing.token(token).0 {
                chosen[expert] += 1.0;
            }
            let row = &scores[token * n..][..n];
            let factor = factor(row);
            for (m, &s) in mass.iter_mut().zip(row) {
                *m += factor * s;
            }
        }
        let t = length as f64;
        let even = k as f64 * t / n as f64;
        loss += chosen.iter().zip(&mass).map(|(c, m)| c / even * (m / t)).sum::<f64>();
        sequences += 1;
        start += length;
    }
    Ok(if sequences == 0 { 0.0 } else { alpha * loss / sequences as f64 })
}

/// The router z-loss, `mean_t (ln Σ_i exp(x_it))²`: keeps logits small.
///
/// # Shapes
/// - `logits`: `[token, experts]`, row by row, before any scoring
///
/// ```
/// use latent_moe::balance::z_loss;
/// let loss = z_loss(&[0.0, 0.0, 1e4, f64::NEG_INFINITY], 2)?;
/// assert_eq!(loss, (2.0_f64.ln().powi(2) + 1e8) / 2.0);
/// # Ok::<(), latent_moe::MoeError>(())
/// ```
///
/// # Errors
/// [`MoeError::Kernel`] when `logits` is not made of rows of `experts`, [`MoeError::Logit`] at a
/// NaN or `+∞`, [`MoeError::NoScore`] where a row has nothing but `-∞`: its loss has no bound.
///
/// # Source
/// Zoph et al., *ST-MoE* (arXiv 2202.08906), equation 5.
pub fn z_loss(logits: &[f64], experts: usize) -> Result<f64, MoeError> {
    check_logits(logits, experts)?;
    let mut sum = 0.0;
    for (token, row) in logits.chunks_exact(experts).enumerate() {
        let max = largest(token, row)?;
        let log_sum_exp = max + row.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        sum += log_sum_exp * log_sum_exp;
    }
    Ok(sum / (logits.len() / experts).max(1) as f64)
}

fn coefficient(name: &str, value: f64) -> Result<(), MoeError> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    let (found, wanted) = (value.to_string(), "a finite number of at least 0".into());
    Err(KernelError::Setting { name: name.into(), found, wanted }.into())
}
