//! What `metrics.jsonl` says of a run: a line for each step and each evaluation.

use serde_json::{Map, Value, json};

use super::json_lines::of_loads;
use crate::{Evaluation, StepReport};

/// What a step did.
pub(super) fn step(report: &StepReport) -> Value {
    let seconds = report.time.as_secs_f64().max(1e-9);
    let [max_vio, load] = of_loads(&report.loads);
    json!({
        "step": report.step,
        "loss": report.loss,
        "cross_entropy": report.losses.cross_entropy,
        "mtp": report.losses.mtp,
        "balance": report.losses.balance,
        "targets": report.losses.targets,
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        "tokens": report.tokens,
        "tokens_per_second": report.tokens as f64 / seconds,
        "activation_bytes": report.losses.activation_bytes,
        "max_vio": max_vio,
        "load": load,
    })
}

/// An evaluation.
pub(super) fn evaluation(step: u64, found: &Evaluation) -> Value {
    let kinds = found
        .kinds
        .iter()
        .map(|(kind, (loss, n))| (kind.to_string(), json!({ "loss": loss, "targets": n })));
    json!({
        "step": step,
        "validation": {
            "loss": found.loss,
            "perplexity": found.loss.exp(),
            "targets": found.targets,
            "bytes": found.bytes,
            "bits_per_byte": found.bits_per_byte(),
            "kinds": kinds.collect::<Map<_, _>>(),
        },
    })
}
