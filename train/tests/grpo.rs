//! Group relative policy optimisation: advantages, objective and gradients.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::float_cmp, reason = "what is claimed to be exact is")]

#[path = "grpo/cases.rs"]
mod cases;
#[path = "grpo/hostile.rs"]
mod hostile;
#[path = "grpo/model.rs"]
mod model;
#[path = "grpo/properties.rs"]
mod properties;
#[path = "grpo/rollout.rs"]
mod rollout;

use latent_train::grpo::{GrpoConfig, GrpoError, Metrics, Objective, Sampled};

/// The loss, what is watched, and the derivative by each log-probability: zeros where a completion is
/// masked.
fn evaluate(
    batch: &[Sampled],
    logps: &[Vec<f64>],
    config: &GrpoConfig,
) -> Result<(f64, Metrics, Vec<Vec<f64>>), GrpoError> {
    let mut objective = Objective::new(batch, None, config)?;
    let mut derivatives = Vec::new();
    for (completion, logps) in logps.iter().enumerate() {
        let counts = objective.counts(completion);
        let of = logps.iter().enumerate().map(|(token, &logp)| match counts {
            true => objective.token(completion, token, logp),
            false => Ok(0.0),
        });
        derivatives.push(of.collect::<Result<Vec<f64>, _>>()?);
    }
    let (loss, metrics) = objective.finish();
    Ok((loss, metrics, derivatives))
}
