//! Steps of AdamW, their errors, and which parameter is moved by what.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use latent_kernels::suite::{Values, assert_threads_change_no_bit};
use latent_kernels::{Reference, Scalar, Tolerance, assert_close};
use latent_train::{
    AdamW, Array, Assignment, Decay, HiddenMatrices, Muon, OptimError, Optimizer, OptimizerConfig,
    OptimizerState, Parameters, Update, clip_global_norm,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const GAIN: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";
const HIDDEN: &str = "model.layers.0.self_attn.o_proj.weight";
const BIAS: &str = "model.layers.1.mlp.gate.e_score_correction_bias";

fn decay_everything() -> OptimizerConfig {
    let assignment = Assignment { decay: Decay::Everything, ..Assignment::default() };
    OptimizerConfig { assignment, ..OptimizerConfig::default() }
}

fn hidden_by_muon() -> OptimizerConfig {
    let assignment = Assignment { hidden_matrices: HiddenMatrices::Muon, ..Assignment::default() };
    OptimizerConfig { assignment, ..OptimizerConfig::default() }
}

fn arrays<T: Scalar>(each: &[(&str, &[usize], &[T])]) -> Parameters<T> {
    let mut arrays = Parameters::default();
    for (name, shape, values) in each {
        arrays.insert(*name, Array::new(shape, values.to_vec()).unwrap());
    }
    arrays
}

fn vector<T: Scalar>(values: &[T]) -> Parameters<T> {
    arrays(&[(GAIN, &[values.len()], values)])
}

fn values<'a, T: Scalar>(parameters: &'a Parameters<T>, name: &str) -> &'a [T] {
    parameters.get(name).unwrap().values()
}

/// An array of `steps.txt`.
fn known(name: &str) -> Vec<f64> {
    let line = include_str!("data/steps.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap();
    line.split(' ').map(|v| v.parse().unwrap()).collect()
}

/// AdamW of one element, as torch documents it, over all its gradients.
fn adamw_by_formula(p: f64, gradients: &[f64], lr: f64, settings: AdamW) -> f64 {
    let AdamW { beta1, beta2, eps, weight_decay } = settings;
    let (mut p, mut m, mut v, mut kept1, mut kept2) = (p, 0.0, 0.0, 1.0, 1.0);
    for g in gradients {
        p -= lr * weight_decay * p;
        m = beta1 * m + (1.0 - beta1) * g;
        v = beta2 * v + (1.0 - beta2) * g * g;
        kept1 *= beta1;
        kept2 *= beta2;
        let (m_hat, v_hat) = (m / (1.0 - kept1), v / (1.0 - kept2));
        p -= lr * m_hat / (v_hat.sqrt() + eps);
    }
    p
}

#[test]
fn steps_are_those_of_sixty_digits() {
    let mut weights = vector(&known("adamw.parameter"));
    let mut optimizer = Optimizer::new(decay_everything(), &weights).unwrap();
    for step in 1..=3 {
        let gradient = vector(&known(&format!("adamw.gradient.{step}")));
        optimizer.step(&Reference::<f64>::new(), &mut weights, &gradient, 1e-2).unwrap();
        let want = known(&format!("adamw.after.{step}"));
        assert_close(values(&weights, GAIN), &want, Tolerance { atol: 0.0, rtol: 1e-14 });
    }
    assert_eq!(optimizer.state().step, 3);
}

#[test]
fn steps_in_f32_follow_those_in_f64() {
    let (mut random, n) = (Values::new(3), 40_001);
    let start: Vec<f32> = random.draw(n);
    let gradients: [Vec<f32>; 4] = [(); 4].map(|()| random.draw(n));
    let mut weights = vector(&start);
    let mut optimizer = Optimizer::new(decay_everything(), &weights).unwrap();
    for gradient in &gradients {
        optimizer.step(&Reference::<f32>::new(), &mut weights, &vector(gradient), 0.01).unwrap();
    }
    let by_formula = |i: usize| {
        let of_one: Vec<f64> = gradients.iter().map(|g| f64::from(g[i])).collect();
        adamw_by_formula(f64::from(start[i]), &of_one, 0.01, AdamW::default())
    };
    let want: Vec<f64> = (0..n).map(by_formula).collect();
    // Elements around 1 lose half a unit of 6e-8 in each of three operations of four steps.
    assert_close(values(&weights, GAIN), &want, Tolerance { atol: 1e-6, rtol: 1e-6 });
}

#[test]
fn zero_gradient_moves_by_decay_alone() {
    let mut weights = vector(&[2.0, -4.0]);
    let mut optimizer = Optimizer::new(decay_everything(), &weights).unwrap();
    optimizer.step(&Reference::new(), &mut weights, &vector(&[0.0, 0.0]), 0.5).unwrap();
    assert_close(values(&weights, GAIN), &[1.9, -3.8], Tolerance { atol: 0.0, rtol: 1e-15 });
}

#[test]
fn a_learning_rate_of_zero_moves_the_moments_alone() {
    let mut weights = vector(&[2.0, -4.0]);
    let mut optimizer = Optimizer::new(decay_everything(), &weights).unwrap();
    optimizer.step(&Reference::new(), &mut weights, &vector(&[1.0, 3.0]), 0.0).unwrap();
    assert_eq!(weights, vector(&[2.0, -4.0]));
    let close = Tolerance { atol: 0.0, rtol: 1e-15 };
    assert_close(values(&optimizer.state().exp_avg, GAIN), &[0.1, 0.3], close);
    let rest = 1.0 - 0.95;
    assert_close(values(&optimizer.state().exp_avg_sq, GAIN), &[rest, 9.0 * rest], close);
}

#[test]
fn vectors_are_decayed_where_everything_is() {
    for (config, want) in [(OptimizerConfig::default(), 2.0), (decay_everything(), 1.8)] {
        let mut weights = arrays(&[(GAIN, &[1], &[2.0]), (HEAD, &[1, 1], &[2.0])]);
        let zeros = arrays(&[(GAIN, &[1], &[0.0]), (HEAD, &[1, 1], &[0.0])]);
        let mut optimizer = Optimizer::new(config, &weights).unwrap();
        optimizer.step(&Reference::new(), &mut weights, &zeros, 1.0).unwrap();
        assert_close(values(&weights, GAIN), &[want], Tolerance::F64);
        assert_close(values(&weights, HEAD), &[1.8], Tolerance::F64);
    }
}

#[test]
fn the_largest_gradients_that_pass_make_no_nan() {
    let large = 1.8e19_f32; // its square is 3.2e38
    let mut weights = vector(&[1.0_f32, 1.0]);
    let mut optimizer = Optimizer::new(decay_everything(), &weights).unwrap();
    for sign in [1.0, -1.0, 1.0] {
        let gradient = vector(&[sign * large, f32::MIN_POSITIVE]);
        optimizer.step(&Reference::new(), &mut weights, &gradient, 0.1).unwrap();
    }
    assert!(values(&weights, GAIN).iter().all(|v| v.is_finite()));
}

#[test]
fn a_run_goes_on_from_its_state_bit_for_bit() {
    for config in [OptimizerConfig::default(), hidden_by_muon()] {
        let mut random = Values::new(5);
        let mut draw =
            || arrays::<f32>(&[(HIDDEN, &[3, 5], &random.draw(15)), (GAIN, &[5], &random.draw(5))]);
        let (mut weights, gradients) = (draw(), [draw(), draw(), draw()]);
        let backend = Reference::<f32>::new();
        let mut optimizer = Optimizer::new(config, &weights).unwrap();
        optimizer.step(&backend, &mut weights, &gradients[0], 0.1).unwrap();
        let (mut later_weights, state) = (weights.clone(), optimizer.state().clone());
        let mut later = Optimizer::with_state(config, &later_weights, state).unwrap();
        for gradient in &gradients[1..] {
            optimizer.step(&backend, &mut weights, gradient, 0.1).unwrap();
            later.step(&backend, &mut later_weights, gradient, 0.1).unwrap();
        }
        assert_eq!((weights, optimizer), (later_weights, later));
    }
}

#[test]
fn threads_change_no_bit() {
    let (mut random, n) = (Values::new(8), 100_003);
    let (start, gradient): (Vec<f32>, Vec<f32>) = (random.draw(n), random.draw(n));
    assert_threads_change_no_bit(|| {
        let (mut weights, mut gradients) = (vector(&start), vector(&gradient));
        let mut optimizer = Optimizer::new(decay_everything(), &weights).unwrap();
        clip_global_norm(&mut gradients, 1.0).unwrap();
        optimizer.step(&Reference::<f32>::new(), &mut weights, &gradients, 0.1).unwrap();
        values(&weights, GAIN).to_vec()
    });
    assert_threads_change_no_bit(|| {
        vec![clip_global_norm(&mut vector(&gradient), f64::INFINITY).unwrap()]
    });
}

#[test]
fn the_first_bad_gradient_is_named_and_nothing_changes() {
    let n = 50_000;
    for (at, bad) in [(0, f32::NAN), (20_000, f32::INFINITY), (49_999, -2e19)] {
        let mut weights = arrays(&[(GAIN, &[1], &[1.0_f32]), (HEAD, &[1, n], &vec![1.0; n])]);
        let mut gradients = weights.clone();
        let gradient = gradients.get_mut(HEAD).unwrap().values_mut();
        gradient[at] = bad;
        gradient[n - 1] = bad;
        let mut optimizer = Optimizer::new(decay_everything(), &weights).unwrap();
        let before = (weights.clone(), optimizer.clone(), gradients.clone());
        let outcome = optimizer.step(&Reference::new(), &mut weights, &gradients, 0.1);
        let clipped = clip_global_norm(&mut gradients, 1.0).map(|_| ());
        for outcome in [outcome, clipped] {
            let message = outcome.unwrap_err().to_string();
            let want = format!("lm_head.weight: gradient[{at}] is {}, want", bad.as_f64());
            assert!(message.starts_with(&want), "{message}");
        }
        assert_eq!((&weights, &optimizer), (&before.0, &before.1));
        assert_eq!(values(&gradients, GAIN), values(&before.2, GAIN));
    }
}

#[test]
fn gradients_that_do_not_fit_are_errors_and_nothing_changes() {
    let start =
        arrays(&[(GAIN, &[2], &[1.0; 2]), (HIDDEN, &[1, 2], &[1.0; 2]), (BIAS, &[1], &[1.0])]);
    let fit = arrays(&[(GAIN, &[2], &[0.5; 2]), (HIDDEN, &[1, 2], &[0.5; 2])]);
    let with = |name: &str, shape: &[usize]| {
        let mut gradients = fit.clone();
        let ones = vec![1.0; shape.iter().product()];
        gradients.insert(name, Array::new(shape, ones).unwrap());
        gradients
    };
    for config in [OptimizerConfig::default(), hidden_by_muon()] {
        let (mut weights, backend) = (start.clone(), Reference::<f64>::new());
        let mut optimizer = Optimizer::new(config, &weights).unwrap();
        let mut error = |gradients: &Parameters<f64>| {
            let error = optimizer.step(&backend, &mut weights, gradients, 0.1).unwrap_err();
            assert_eq!((&weights, optimizer.state().step), (&start, 0));
            error
        };
        let missing = OptimError::Missing { what: "gradient", name: HIDDEN.into() };
        assert_eq!(error(&arrays(&[(GAIN, &[2], &[0.5; 2])])), missing);
        let (found, wanted) = (vec![2, 1], vec![1, 2]);
        let shape = OptimError::Shape { what: "gradient", name: HIDDEN.into(), found, wanted };
        assert_eq!(error(&with(HIDDEN, &[2, 1])), shape);
        for name in [BIAS, "model.no_such.weight"] {
            let unwanted = OptimError::Unwanted { what: "gradient", name: name.into() };
            assert_eq!(error(&with(name, &[1])), unwanted);
        }
        for lr in [f64::NAN, f64::INFINITY, -1e-3] {
            let error = optimizer.step(&backend, &mut weights, &fit, lr).unwrap_err();
            let message = error.to_string();
            assert_eq!(message, format!("lr: got {lr}, want a finite number of at least 0"));
        }
        optimizer.step(&backend, &mut weights, &fit, 0.1).unwrap();
        assert_eq!(weights.get(BIAS), start.get(BIAS), "the bias rule moves it, nothing else");
    }
}

#[test]
fn parameters_other_than_those_of_the_state_are_an_error() {
    let weights = vector(&[1.0, 2.0]);
    let mut optimizer = Optimizer::new(OptimizerConfig::default(), &weights).unwrap();
    let mut more = arrays(&[(GAIN, &[2], &[1.0; 2]), (HEAD, &[1, 1], &[1.0])]);
    let gradients = more.clone();
    let error = optimizer.step(&Reference::new(), &mut more, &gradients, 0.1).unwrap_err();
    assert_eq!(error, OptimError::Missing { what: "exp_avg", name: HEAD.into() });
}

#[test]
fn a_foreign_state_is_an_error() {
    let weights = arrays(&[(GAIN, &[2], &[1.0; 2]), (HIDDEN, &[1, 2], &[1.0; 2])]);
    let error = |config, change: fn(&mut OptimizerState<f64>)| {
        let mut state = Optimizer::new(config, &weights).unwrap().state().clone();
        change(&mut state);
        Optimizer::with_state(config, &weights, state).unwrap_err().to_string()
    };
    let (adamw, muon) = (OptimizerConfig::default(), hidden_by_muon());
    assert!(error(adamw, |s| s.exp_avg = Parameters::default()).contains("no exp_avg"));
    assert!(error(adamw, |s| s.momentum_buffer = s.exp_avg.clone()).contains("found a momentum"));
    assert!(error(muon, |s| s.momentum_buffer = Parameters::default()).contains("no momentum"));
    let shape = error(adamw, |s| s.exp_avg_sq.insert(GAIN, Array::new(&[1], vec![0.0]).unwrap()));
    assert_eq!(shape, "model.norm.weight: exp_avg_sq has shape [1], its parameter [2]");
    let negative = error(adamw, |s| {
        s.exp_avg_sq.get_mut(GAIN).unwrap().values_mut()[1] = -1e-9;
    });
    assert_eq!(
        negative,
        "model.norm.weight: exp_avg_sq[1] is -0.000000001, want a finite number, 0 or above"
    );
    let nan = error(adamw, |s| s.exp_avg.get_mut(GAIN).unwrap().values_mut()[0] = f64::NAN);
    assert!(nan.starts_with("model.norm.weight: exp_avg[0] is NaN"), "{nan}");
    let nan = error(muon, |s| {
        s.momentum_buffer.get_mut(HIDDEN).unwrap().values_mut()[1] = f64::INFINITY;
    });
    assert!(nan.contains("momentum_buffer[1] is inf"), "{nan}");
}

#[test]
fn settings_out_of_range_are_named() {
    let message = |adamw: AdamW, muon: Muon| {
        let config = OptimizerConfig { adamw, muon, ..OptimizerConfig::default() };
        let error = Optimizer::<f32>::new(config, &Parameters::default()).unwrap_err();
        error.to_string()
    };
    let (a, m) = (AdamW::default(), Muon::default());
    let below_one = "want a number of at least 0 and below 1";
    for bad in [1.0, -0.1, f64::NAN] {
        let want = |name| format!("{name}: got {bad}, {below_one}");
        assert_eq!(message(AdamW { beta1: bad, ..a }, m), want("adamw.beta1"));
        assert_eq!(message(AdamW { beta2: bad, ..a }, m), want("adamw.beta2"));
        assert_eq!(message(a, Muon { momentum: bad, ..m }), want("muon.momentum"));
    }
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        let want = |name| format!("{name}: got {bad}, want a finite number of at least 0");
        let (of_a, of_m) = (AdamW { weight_decay: bad, ..a }, Muon { weight_decay: bad, ..m });
        assert_eq!(message(of_a, m), want("adamw.weight_decay"));
        assert_eq!(message(a, of_m), want("muon.weight_decay"));
    }
    // 1e-50 is 0 in f32, and 0 / 0 would follow a gradient of 0.
    for bad in [0.0, -1e-8, f64::NAN, f64::INFINITY, 1e-50] {
        let want = format!("adamw.eps: got {bad}, want a finite number above 0 in f32");
        assert_eq!(message(AdamW { eps: bad, ..a }, m), want);
    }
}

#[test]
fn each_parameter_has_its_optimiser() {
    let muon = Assignment { hidden_matrices: HiddenMatrices::Muon, decay: Decay::Matrices };
    let decayed = Update::AdamW { decayed: true };
    for (name, shape, by_muon, by_adamw) in [
        ("model.embed_tokens.weight", &[96, 32][..], decayed, decayed),
        ("lm_head.weight", &[96, 32], decayed, decayed),
        ("model.layers.2.shared_head.head.weight", &[96, 32], decayed, decayed),
        ("model.layers.1.mlp.gate.weight", &[8, 32], decayed, decayed),
        ("model.layers.0.mlp.gate_proj.weight", &[48, 32], Update::Muon, decayed),
        ("model.layers.1.mlp.experts.7.down_proj.weight", &[32, 20], Update::Muon, decayed),
        ("model.layers.0.self_attn.kv_a_proj_with_mqa.weight", &[24, 32], Update::Muon, decayed),
        ("model.layers.2.eh_proj.weight", &[32, 64], Update::Muon, decayed),
        // The end of a name is a whole word.
        ("my_lm_head.weight", &[2, 2], Update::Muon, decayed),
    ] {
        assert_eq!(muon.of(name, shape), by_muon, "{name}");
        assert_eq!(Assignment::default().of(name, shape), by_adamw, "{name}");
    }
    for decay in [Decay::Matrices, Decay::Everything] {
        let rule = Assignment { decay, ..muon };
        let vector = Update::AdamW { decayed: decay == Decay::Everything };
        assert_eq!(rule.of("model.layers.0.self_attn.q_a_layernorm.weight", &[20]), vector);
        assert_eq!(rule.of(BIAS, &[8]), Update::BiasRule);
    }
}

#[test]
fn the_table_names_every_parameter() {
    let weights = arrays(&[
        (GAIN, &[2], &[1.0_f32; 2]),
        (HEAD, &[1, 2], &[1.0; 2]),
        (HIDDEN, &[1, 2], &[1.0; 2]),
        (BIAS, &[1], &[1.0]),
    ]);
    let want = "\
name                                             shape   moved by   decayed
lm_head.weight                                   [1, 2]  AdamW      yes
model.layers.0.self_attn.o_proj.weight           [1, 2]  Muon       yes
model.layers.1.mlp.gate.e_score_correction_bias  [1]     bias rule  no
model.norm.weight                                [2]     AdamW      no
";
    assert_eq!(hidden_by_muon().assignment.table(&weights), want);
}

#[test]
fn a_norm_at_the_bound_is_not_clipped() {
    let start = arrays(&[(GAIN, &[1], &[3.0]), (HEAD, &[1, 1], &[-4.0])]);
    for bound in [5.0, f64::INFINITY] {
        let mut gradients = start.clone();
        let norm = clip_global_norm(&mut gradients, bound).unwrap();
        assert_close(&[norm], &[5.0], Tolerance::EXACT);
        assert_eq!(gradients, start);
    }
    let none = clip_global_norm(&mut Parameters::<f32>::default(), 1.0).unwrap();
    assert_close(&[none], &[0.0], Tolerance::EXACT);
}

#[test]
fn a_norm_larger_than_f32_is_clipped() {
    let mut gradients = vector(&[1.5e19_f32; 1000]);
    clip_global_norm(&mut gradients, 1e-30).unwrap();
    // Above the smallest normal f32, 1e-38.
    let want = 1e-30 / 1000_f64.sqrt();
    assert_close(values(&gradients, GAIN), &[want; 1000], Tolerance { atol: 0.0, rtol: 1e-7 });
}

#[test]
fn a_bad_bound_or_an_endless_sum_is_an_error() {
    for bound in [0.0, -1.0, f64::NAN] {
        let error = clip_global_norm(&mut vector(&[1.0]), bound).unwrap_err();
        assert_eq!(error.to_string(), format!("max_norm: got {bound}, want a number above 0"));
    }
    let large = [1e154; 2]; // the squares are finite, their sum is not
    let mut gradients = arrays(&[(HEAD, &[1, 1], &[1.0]), (GAIN, &[2], &large)]);
    let error = clip_global_norm(&mut gradients, 1.0).unwrap_err();
    assert_eq!(error, OptimError::Norm { name: GAIN.into(), found: f64::INFINITY });
    assert_eq!(values(&gradients, GAIN), large);
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource(
            "proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_settings_follow_the_formula(
        start in -2.0_f64..2.0,
        gradients in prop::collection::vec(-3.0_f64..3.0, 0..12),
        (beta1, beta2) in (0.0_f64..0.999, 0.0_f64..0.999),
        (eps, weight_decay, lr) in (1e-9_f64..1e-2, 0.0_f64..1.0, 0.0_f64..0.1),
    ) {
        let adamw = AdamW { beta1, beta2, eps, weight_decay };
        let mut weights = vector(&[start]);
        let config = OptimizerConfig { adamw, ..decay_everything() };
        let mut optimizer = Optimizer::new(config, &weights).unwrap();
        for &gradient in &gradients {
            optimizer.step(&Reference::new(), &mut weights, &vector(&[gradient]), lr).unwrap();
        }
        let want = adamw_by_formula(start, &gradients, lr, adamw);
        assert_close(values(&weights, GAIN), &[want], Tolerance::F64);
    }

    #[test]
    fn clipping_keeps_the_direction_and_bounds_the_norm(
        elements in prop::collection::vec(-10.0_f64..10.0, 1..40),
        bound in 0.01_f64..20.0,
    ) {
        let mut gradients = vector(&elements);
        let norm = clip_global_norm(&mut gradients, bound).unwrap();
        let by_formula = elements.iter().map(|v| v * v).sum::<f64>().sqrt();
        assert_close(&[norm], &[by_formula], Tolerance::F64);
        let factor = (bound / by_formula).min(1.0);
        let want: Vec<f64> = elements.iter().map(|v| v * factor).collect();
        assert_close(values(&gradients, GAIN), &want, Tolerance::F64);
    }
}
