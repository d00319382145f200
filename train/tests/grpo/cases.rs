//! Cases by the formulas of TRL, which `grpo_cases.py` computes.

use latent_train::grpo::{GrpoConfig, Sampled, advantages};
use serde_json::Value;

use super::evaluate;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(numbers).collect()
}

#[track_caller]
fn assert_near(got: f64, want: f64, within: f64, what: &str) {
    assert!((got - want).abs() <= within * want.abs().max(1.0), "{what}: {got}, want {want}");
}

#[test]
fn advantages_losses_metrics_and_derivatives_are_those_of_trl() {
    let cases: Value = serde_json::from_str(include_str!("../grpo_cases.json")).unwrap();
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 24);
    let (mut clipped, mut masked) = ([0.0, 0.0], 0);
    for case in cases {
        let config: GrpoConfig = serde_json::from_value(case["config"].clone()).unwrap();
        let of = advantages(&numbers(&case["rewards"]), &config).unwrap();
        for (got, want) in of.values.iter().zip(numbers(&case["advantages"])) {
            assert_near(*got, want, 1e-12, "advantage");
        }
        let zero = case["frac_reward_zero_std"].as_f64().unwrap();
        assert_near(of.frac_reward_zero_std(), zero, 1e-15, "frac_reward_zero_std");
        assert!(zero > 0.0);

        let truncated = case["truncated"].as_array().unwrap();
        let (old, reference) = (rows(&case["old_logps"]), rows(&case["ref_logps"]));
        let batch: Vec<Sampled> = (0..old.len())
            .map(|i| Sampled {
                old_logps: old[i].clone(),
                ref_logps: Some(reference[i].clone()),
                advantage: of.values[i],
                truncated: truncated[i].as_bool().unwrap(),
            })
            .collect();
        let (loss, metrics, derivatives) =
            evaluate(&batch, &rows(&case["logps"]), &config).unwrap();
        assert_near(loss, case["loss"].as_f64().unwrap(), 1e-12, "loss");
        for (name, got) in [
            ("kl", metrics.kl.unwrap()),
            ("clip_low", metrics.clip_low),
            ("clip_high", metrics.clip_high),
            ("clip_region", metrics.clip_region),
            ("ratio", metrics.ratio),
            ("max_ratio_deviation", metrics.max_ratio_deviation),
        ] {
            assert_near(got, case["metrics"][name].as_f64().unwrap(), 1e-12, name);
        }
        let want = rows(&case["derivatives"]);
        assert_eq!(derivatives.len(), want.len());
        for (got, want) in derivatives.iter().flatten().zip(want.iter().flatten()) {
            assert_near(*got, *want, 1e-8, "derivative");
        }
        clipped[0] += metrics.clip_low;
        clipped[1] += metrics.clip_high;
        masked += metrics.masked;
    }
    assert!(clipped.iter().all(|&of| of > 0.0) && masked > 0, "cases without a clip or a mask");
}
