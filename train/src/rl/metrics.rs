//! What a run says of itself: lines of `metrics.jsonl`, and numbers for TensorBoard.
//!
//! | `metrics.jsonl` | TensorBoard, by TRL's names where it has them |
//! | --- | --- |
//! | `reward`, `reward_std`, `frac_reward_zero_std` | the same |
//! | `reward_parts` | `rewards/match`, `rewards/form`, `rewards/language`, `rewards/length` |
//! | `accuracy`, `formed` | the same |
//! | `length`, `clipped` | `completions/mean_length`, `completions/clipped_ratio` |
//! | `thinking` | `completions/mean_thinking_characters` |
//! | `kl`, `entropy`, `clip_low`, `clip_high` | `kl`, `entropy`, `clip_ratio/low_mean`, `clip_ratio/high_mean` |

use serde_json::{Value, json};

use super::{AnswerStats, RlEvaluation, RlStepReport};
use crate::run::of_loads;

/// A line of what a step did.
pub(super) fn step(report: &RlStepReport) -> Value {
    let [max_vio, load] = of_loads(&report.loads);
    let mut line = json!(report.stats);
    let update = report.update.unwrap_or_default();
    let metrics = update.metrics;
    let (times, tokens) = (report.times, report.stats.tokens);
    let more = json!({
        "step": report.step,
        "questions": report.questions,
        "reward_std": report.reward_std,
        "frac_reward_zero_std": report.frac_reward_zero_std,
        "loss": update.loss,
        "balance": update.balance,
        "mtp": update.mtp,
        "learned_tokens": metrics.tokens,
        "masked": metrics.masked,
        "kl": metrics.kl,
        "entropy": metrics.entropy,
        "clip_low": metrics.clip_low,
        "clip_high": metrics.clip_high,
        "ratio": metrics.ratio,
        "first_ratio_deviation": report.first_ratio_deviation,
        "first_rerouted": report.first_rerouted,
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        "seconds": times.whole.as_secs_f64(),
        "rollout_seconds": times.rollout.as_secs_f64(),
        "training_seconds": times.training.as_secs_f64(),
        "tokens_per_second": tokens as f64 / times.whole.as_secs_f64().max(1e-9),
        "rollout_tokens_per_second": tokens as f64 / times.rollout.as_secs_f64().max(1e-9),
        "max_vio": max_vio,
        "load": load,
    });
    put(&mut line, more);
    line
}

/// A line of an evaluation.
pub(super) fn evaluation(step: u64, found: &RlEvaluation) -> Value {
    json!({ "step": step, "held_out": found })
}

fn put(line: &mut Value, more: Value) {
    if let (Value::Object(line), Value::Object(more)) = (line, more) {
        line.extend(more);
    }
}

/// The numbers of a step.
pub(super) fn step_scalars(report: &RlStepReport) -> Vec<(String, f64)> {
    let mut scalars = stats_scalars("", &report.stats);
    let times = report.times;
    let mut put = |tag: &str, value: f64| scalars.push((tag.into(), value));
    put("reward_std", report.reward_std);
    put("frac_reward_zero_std", report.frac_reward_zero_std);
    put("learning_rate", report.learning_rate);
    put("tokens_per_second", report.stats.tokens as f64 / times.whole.as_secs_f64().max(1e-9));
    put("share/rollout", times.rollout.as_secs_f64() / times.whole.as_secs_f64().max(1e-9));
    put("share/training", times.training.as_secs_f64() / times.whole.as_secs_f64().max(1e-9));
    if let Some(update) = report.update {
        put("loss", update.loss);
        put("grad_norm", report.grad_norm);
        put("clip_ratio/low_mean", update.metrics.clip_low);
        put("clip_ratio/high_mean", update.metrics.clip_high);
        update.metrics.kl.into_iter().for_each(|kl| put("kl", kl));
        update.mtp.into_iter().for_each(|mtp| put("mtp", mtp));
        update.metrics.entropy.into_iter().for_each(|entropy| put("entropy", entropy));
    }
    let max_vio = report.loads.max_vio();
    scalars.extend(max_vio.map(|(layer, v)| (format!("max_vio/layer_{layer}"), v)));
    scalars
}

/// The numbers of an evaluation.
pub(super) fn evaluation_scalars(found: &RlEvaluation) -> Vec<(String, f64)> {
    stats_scalars("held_out/", &found.stats)
}

fn stats_scalars(before: &str, stats: &AnswerStats) -> Vec<(String, f64)> {
    let each = [
        ("reward", stats.reward),
        ("rewards/match", stats.parts.matched),
        ("rewards/form", stats.parts.form),
        ("rewards/language", stats.parts.language),
        ("rewards/length", stats.parts.length),
        ("accuracy", stats.accuracy),
        ("formed", stats.formed),
        ("completions/mean_length", stats.length),
        ("completions/mean_thinking_characters", stats.thinking),
        ("completions/clipped_ratio", stats.clipped),
    ];
    each.into_iter().map(|(tag, value)| (format!("{before}{tag}"), value)).collect()
}
