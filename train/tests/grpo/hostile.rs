//! What cannot be learned from is refused by its name.

use latent_train::grpo::{
    Completion, GrpoConfig, GrpoLoss, LossType, Metrics, Sampled, ScaleRewards, Span, Whole,
    advantages, gradients, logprobs,
};
use latent_train::model::Form;

use super::{evaluate, model};

fn sampled(n: usize) -> Sampled {
    let logps = vec![-1.0; n];
    Sampled { old_logps: logps.clone(), ref_logps: Some(logps), advantage: 0.5, truncated: false }
}

#[test]
fn settings_out_of_range_are_named() {
    type Break = fn(&mut GrpoConfig);
    let cases: [(Break, &str); 11] = [
        (|c| c.num_generations = 1, "num_generations: found 1, want at least 2"),
        (|c| c.num_generations = 0, "num_generations: found 0, want at least 2"),
        (|c| c.num_iterations = 0, "num_iterations: found 0, want at least 1"),
        (|c| c.max_completion_length = 0, "max_completion_length: found 0, want at least 1"),
        (|c| c.temperature = 0.0, "temperature: found 0, want a finite number above 0"),
        (|c| c.temperature = f64::NAN, "temperature: found NaN, want a finite number above 0"),
        (|c| c.temperature = f64::INFINITY, "temperature: found inf, want a finite"),
        (|c| c.beta = -0.1, "beta: found -0.1, want a finite number of at least 0"),
        (|c| c.beta = f64::INFINITY, "beta: found inf, want a finite number of at least 0"),
        (|c| c.epsilon = f64::NAN, "epsilon: found NaN, want a finite number of at least 0"),
        (|c| c.epsilon_high = Some(-1.0), "epsilon_high: found -1, want a finite number"),
    ];
    for (break_it, want) in cases {
        let mut config = GrpoConfig::default();
        break_it(&mut config);
        let errors = [
            config.validate().unwrap_err(),
            advantages(&[], &config).unwrap_err(),
            evaluate(&[sampled(1)], &[vec![-1.0]], &config).unwrap_err(),
        ];
        assert!(errors.iter().all(|error| error.to_string().starts_with(want)), "{errors:?}");
    }
    GrpoConfig { epsilon: 10.0, beta: 0.0, ..GrpoConfig::default() }.validate().unwrap();
}

#[test]
fn settings_are_read_by_their_published_names_alone() {
    let text = "beta = 0.04\nepsilon = 0.1\nepsilon_high = 0.3\nloss_type = 'dr_grpo'\n\
                scale_rewards = 'none'\nnum_iterations = 2\nmask_truncated_completions = true\n\
                temperature = 0.7\nnum_generations = 64\nmax_completion_length = 1024";
    let want = GrpoConfig {
        num_generations: 64,
        temperature: 0.7,
        ref_model_sync_steps: 400,
        beta: 0.04,
        epsilon: 0.1,
        epsilon_high: Some(0.3),
        loss_type: LossType::DrGrpo,
        scale_rewards: ScaleRewards::None,
        num_iterations: 2,
        mask_truncated_completions: true,
        max_completion_length: 1024,
    };
    assert_eq!(serde_json::from_value::<GrpoConfig>(json(text)).unwrap(), want);
    assert_eq!(serde_json::from_value::<GrpoConfig>(json("")).unwrap(), GrpoConfig::default());
    for wrong in ["kl_coef = 0.1", "loss_type = 'ppo'", "scale_rewards = true", "beta = 'a'"] {
        assert!(serde_json::from_value::<GrpoConfig>(json(wrong)).is_err(), "{wrong}");
    }
}

/// Lines of `key = value` as JSON.
fn json(lines: &str) -> serde_json::Value {
    let pair = |line: &str| {
        let (key, value) = line.split_once(" = ").unwrap();
        (key.to_owned(), serde_json::from_str(&value.replace('\'', "\"")).unwrap())
    };
    serde_json::Value::Object(lines.lines().map(pair).collect())
}

#[test]
fn rewards_that_are_none_are_named_by_their_place() {
    let config = GrpoConfig { num_generations: 2, ..GrpoConfig::default() };
    let message = |rewards: &[f64]| advantages(rewards, &config).unwrap_err().to_string();
    assert_eq!(
        message(&[0.0, 1.0, 0.0]),
        "rewards: found 3, want num_generations = 2 for each question"
    );
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e101, -1e300] {
        assert!(
            message(&[0.0, 1.0, 0.0, wrong])
                .starts_with(&format!("reward of question 1, answer 1: found {wrong}, want")),
        );
    }
    for scale_rewards in [ScaleRewards::Group, ScaleRewards::Batch, ScaleRewards::None] {
        let config = GrpoConfig { scale_rewards, ..config };
        let of = advantages(&[1e100, -1e100, 1e-300, 0.0], &config).unwrap();
        assert!(of.values.iter().chain(&of.stds).all(|a| a.is_finite()));
    }
    let none = advantages(&[], &config).unwrap();
    assert_eq!((none.values.len(), none.frac_reward_zero_std()), (0, 0.0));
}

#[test]
fn completions_that_do_not_fit_together_are_named() {
    let config = GrpoConfig::default();
    let message = |sampled: Sampled| {
        let logps = vec![vec![-1.0; 2]; 2];
        evaluate(&[self::sampled(2), sampled], &logps, &config).unwrap_err().to_string()
    };
    assert_eq!(message(sampled(0)), "completion 1: found no tokens, want at least one");
    assert_eq!(
        message(Sampled { ref_logps: Some(vec![-1.0]), ..sampled(2) }),
        "ref_logps of completion 1: found 1, want 2, one for each token"
    );
    assert_eq!(
        message(Sampled { ref_logps: None, ..sampled(2) }),
        "ref_logps of completion 1: missing; beta = 0.001 wants them"
    );
    assert_eq!(
        message(Sampled { advantage: f64::NAN, ..sampled(2) }),
        "advantage of completion 1: found NaN, want a finite number"
    );
    assert_eq!(
        message(Sampled { old_logps: vec![-1.0, f64::NEG_INFINITY], ..sampled(2) }),
        "old_logps of completion 1, token 1: found -inf, want a finite number"
    );
    assert_eq!(
        message(Sampled { ref_logps: Some(vec![f64::NAN, -1.0]), ..sampled(2) }),
        "ref_logps of completion 1, token 0: found NaN, want a finite number"
    );
    assert!(
        message(Sampled { old_logps: vec![-1.0, -82.0], ..sampled(2) })
            .starts_with("logps - old_logps of completion 1, token 1: found 81, want 80 at most")
    );
    let logps = [vec![-1.0, -81.5]];
    let error = evaluate(&[sampled(2)], &logps, &config).unwrap_err().to_string();
    assert!(error.starts_with("ref_logps - logps of completion 0, token 1: found 80.5"), "{error}");
    let error = evaluate(&[sampled(1)], &[vec![f64::NEG_INFINITY]], &config).unwrap_err();
    assert!(error.to_string().starts_with("logps of completion 0, token 0: found -inf"));
    let config = GrpoConfig { beta: 1e20, ..config };
    let far = Sampled { ref_logps: Some(vec![-1e300]), ..sampled(1) };
    let error = evaluate(&[far], &[vec![-1.0]], &config).unwrap_err().to_string();
    assert_eq!(error, "objective of completion 0, token 0: found -inf, want a finite number");
    let huge = Sampled { advantage: -1e300, ..sampled(1) };
    let error = evaluate(&[huge], &[vec![-1.0]], &config).unwrap_err().to_string();
    assert!(error.starts_with("derivative by logps of completion 0, token 0: found 1"), "{error}");
}

/// Without a weight the divergence needs no reference, and is known where one is.
#[test]
fn a_reference_is_needed_for_a_divergence_alone() {
    let config = GrpoConfig { beta: 0.0, ..GrpoConfig::default() };
    let without = Sampled { ref_logps: None, ..sampled(1) };
    let logps = [vec![-1.5], vec![-1.5]];
    let of =
        |a: &Sampled, b: &Sampled| evaluate(&[a.clone(), b.clone()], &logps, &config).unwrap().1.kl;
    assert!(of(&sampled(1), &sampled(1)).unwrap() > 0.1);
    assert_eq!((of(&without, &sampled(1)), of(&without, &without)), (None, None));
}

#[test]
fn where_all_is_masked_there_is_no_loss_and_no_gradient() {
    for loss_type in [LossType::Grpo, LossType::Bnpo, LossType::Dapo, LossType::DrGrpo] {
        let grpo =
            GrpoConfig { loss_type, mask_truncated_completions: true, ..GrpoConfig::default() };
        let masked = Sampled { truncated: true, ..sampled(2) };
        let (loss, metrics, _) =
            evaluate(&[masked.clone(), masked.clone()], &[vec![-1.0; 2], vec![-1.0; 2]], &grpo)
                .unwrap();
        let nothing = Metrics { masked: 2, kl: Some(0.0), ..Metrics::default() };
        assert_eq!((loss, metrics), (0.0, nothing));

        let batch = [Completion { tokens: vec![1, 2, 3], completion: 1..3, sampled: masked }];
        let config = GrpoLoss { grpo, ..GrpoLoss::default() };
        let (report, all) = gradients(&model::tiny(), &batch, &config, &mut ()).unwrap();
        assert_eq!((report.loss, report.metrics.tokens, report.metrics.masked), (0.0, 0, 1));
        assert!(all.iter().all(|(_, of)| of.values().iter().all(|&v| v == 0.0)));
    }
}

#[test]
fn a_batch_of_nothing_has_no_loss_and_gradients_of_zeros() {
    let (report, all) = gradients(&model::tiny(), &[], &GrpoLoss::default(), &mut ()).unwrap();
    assert_eq!((report.total(), report.metrics.tokens), (0.0, 0));
    assert!(all.elements() > 0);
    assert!(all.iter().all(|(_, of)| of.values().iter().all(|&v| v == 0.0)));
}

#[test]
fn completions_that_are_no_part_of_their_tokens_are_named() {
    let tiny = model::tiny();
    let message = |start: usize, end: usize, n: usize| {
        let tokens = vec![1, 2, 3];
        let completion =
            Completion { tokens: tokens.clone(), completion: start..end, sampled: sampled(n) };
        let error = gradients(&tiny, &[completion], &GrpoLoss::default(), &mut ()).unwrap_err();
        let span = Span { tokens: &tokens, completion: start..end };
        let of = logprobs(&tiny, &[span], 1.0, Form::Expanded, 8);
        (error.to_string(), of.map_err(|error| error.to_string()))
    };
    let range = |start, end| {
        format!(
            "completion 0: found tokens {start}..{end} of 3, want some of them behind the first"
        )
    };
    for (start, end, n) in [(0, 3, 3), (1, 4, 3), (3, 2, 1), (usize::MAX, 3, 1)] {
        let (error, of) = message(start, end, n);
        assert_eq!((&error, of), (&range(start, end), Err(error.clone())));
    }
    let (error, of) = message(2, 2, 1);
    let empty = "completion 0: found no tokens, want at least one";
    assert_eq!((&error[..], of), (empty, Err(empty.to_owned())));
    let (error, of) = message(1, 3, 3);
    assert_eq!(error, "old_logps of completion 0: found 3, want 2, one for each token");
    assert_eq!(of.unwrap()[0].len(), 2);

    let far = Span { tokens: &[1, 999_999], completion: 1..2 };
    let error = logprobs(&tiny, &[far], 1.0, Form::Expanded, 8).unwrap_err();
    assert!(error.to_string().contains("999999"), "{error}");
    let cold = logprobs(&tiny, &[], 0.0, Form::Expanded, 8).unwrap_err();
    assert_eq!(cold.to_string(), "temperature: got 0, want a finite number above 0");
}

#[test]
fn a_whole_that_is_less_than_its_part_is_refused() {
    for (completions, tokens) in [(0, 9), (9, 1)] {
        let whole = Some(Whole { completions, tokens });
        let batch = [Completion { tokens: vec![1, 2, 3], completion: 1..3, sampled: sampled(2) }];
        let config = GrpoLoss { whole, ..GrpoLoss::default() };
        let error = gradients(&model::tiny(), &batch, &config, &mut ()).unwrap_err().to_string();
        assert!(error.starts_with("whole: found Whole { completions: "), "{error}");
    }
}
