//! Runs as reinforcement learning could have left them.

use latent_train::rewards::Parts;
use latent_train::rl::{AnswerStats, RlEvaluation, RlHistory, RlStepPoint, Sample, Verdict};
use serde_json::json;

use crate::report::rl::RlRun;
use crate::report::tests::synthetic::noise;

/// A run in a folder, that is evaluated ten times. One that is called `added` learns more slowly.
pub(super) fn run(folder: &str, seed: u64, steps: u64) -> RlRun {
    let pace = if folder.contains("added") { 0.7 } else { 1.0 };
    let point = |step: u64| RlStepPoint {
        step,
        questions: 16,
        stats: stats(pace * step as f64 / steps as f64, step * 31 + seed, 0.06),
        reward_std: 0.3,
        frac_reward_zero_std: 0.4 - 0.2 * noise(step + seed),
        entropy: Some(1.6 * (-(step as f64) / 80.0).exp() + 0.3 + 0.05 * noise(step * 3 + seed)),
        kl: None,
        clip_low: 0.0,
        clip_high: 0.0,
        grad_norm: 0.5 + 0.2 * noise(step * 5 + seed),
        seconds: 3.0,
        rollout_seconds: 1.8,
        training_seconds: 1.1,
        max_vio: [1, 2].map(|layer| (layer, 0.8 + 0.2 * noise(step * layer as u64))).into(),
    };
    let evaluation = |i: u64| {
        let samples = (0..8).map(|question| sample(question, i)).collect();
        let stats = stats(pace * i as f64 / 10.0, i * 7 + seed, 0.02);
        (i * steps / 10, RlEvaluation { stats, samples })
    };
    let settings =
        json!({ "grpo": { "beta": 0.0 }, "run": { "seed": seed }, "reward": { "mode": "gated" } });
    RlRun {
        folder: folder.into(),
        history: RlHistory {
            steps: (1..=steps).map(point).collect(),
            evaluations: (0..=10).map(evaluation).collect(),
        },
        settings: Ok(Some(settings)),
    }
}

/// After a part of a run, from 0 to 1.
fn stats(part: f64, at: u64, size: f64) -> AnswerStats {
    let noise = |key: u64| size * noise(at * 8 + key);
    let skill = 1.0 / (1.0 + (5.0 - 9.0 * part).exp());
    let accuracy = (0.9 * skill + 0.05 + noise(1)).clamp(0.0, 1.0);
    AnswerStats {
        answers: 200,
        tokens: 12_000,
        reward: accuracy,
        parts: Parts { matched: accuracy, ..Parts::default() },
        accuracy,
        formed: (0.7 + 0.3 * part + noise(2)).clamp(0.0, 1.0),
        length: 40.0 + 30.0 * skill + 20.0 * noise(3),
        thinking: 20.0 + 70.0 * skill + 60.0 * noise(4),
        clipped: (0.08 * (1.0 - part) + 0.3 * noise(5)).clamp(0.0, 1.0),
    }
}

fn sample(question: u64, evaluation: u64) -> Sample {
    let (a, b, c) = (17 + 3 * question, 45 - question, 8 + question);
    let sum = a + b + c;
    let good = format!(
        "<think>{a} + {b} = {}\n{} + {c} = {sum}</think> <answer>{sum}</answer>",
        a + b,
        a + b
    );
    let (text, verdict) = match evaluation + question {
        0..5 => (format!("{a}+{b}={}\n<answer>{}", a + b + 1, a + b), Verdict::Unformed),
        5..9 => (good.replace(&sum.to_string(), &(sum + 10).to_string()), Verdict::Wrong),
        _ => (good, Verdict::Right),
    };
    Sample {
        question: format!("{a}+{b}+{c}=?"),
        answer: sum.to_string(),
        text,
        reward: f64::from(u8::from(verdict == Verdict::Right)),
        ended: verdict != Verdict::Unformed,
        verdict,
    }
}
