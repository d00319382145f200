//! The losses and gradients of the conformance pack, which other programs computed.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::{Path, PathBuf};

use latent_kernels::{Dtype, Reference, Scalar};
use latent_model::config::ModelConfig;
use latent_model::moe::balance::BalanceLosses;
use latent_model::{Form, Keep};
use latent_train::{
    Assignment, Decay, LossConfig, Losses, Optimizer, OptimizerConfig, Parameters, Sequence,
    gradients,
};
use safetensors::SafeTensors;

fn dir(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance").join(case)
}

/// What a case expects.
struct Expected(Vec<u8>);

impl Expected {
    fn open(case: &str) -> Self {
        Self(std::fs::read(dir(case).join("goldens.safetensors")).unwrap())
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        let file = self.file();
        let tensor = file.tensor(name).unwrap();
        let mut values = vec![f64::NAN; tensor.data().len() / 8];
        Dtype::F64.decode(tensor.data(), &mut values);
        values
    }

    fn batch(&self) -> Vec<Sequence> {
        let file = self.file();
        let ids = file.tensor("input_ids").unwrap();
        let length = ids.shape()[1];
        let (all, _) = ids.data().as_chunks::<8>();
        let all: Vec<u32> =
            all.iter().map(|&id| u32::try_from(i64::from_le_bytes(id)).unwrap()).collect();
        all.chunks(length).map(Sequence::of).collect()
    }
}

/// The loss of a case: `alpha` is its balance loss'.
fn config(alpha: f64, form: Form, keep: Keep) -> LossConfig {
    let balance = BalanceLosses { seq_aux: alpha, ..BalanceLosses::default() };
    // Chunks that do not divide the number of targets.
    LossConfig { balance, form, keep, logits_chunk: 5, ..LossConfig::default() }
}

fn run<T: Scalar>(case: &str, config: &LossConfig) -> (Losses, Parameters<T>) {
    let (sizes, _) = ModelConfig::from_dir(dir(case)).unwrap();
    let weights = Parameters::<T>::from_dir(&dir(case), &sizes).unwrap();
    let model = weights.model(Reference::<T>::new(), &sizes, Dtype::F64).unwrap();
    gradients(&model, &Expected::open(case).batch(), config, &mut ()).unwrap()
}

/// The largest difference of a gradient, as a share of the tensor's largest element.
fn worst<T: Scalar>(got: &[T], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    let differences = got.iter().zip(want).map(|(g, w)| (g.as_f64() - w).abs());
    let difference =
        differences.fold(0.0, |m, d| if d.is_nan() { f64::INFINITY } else { d.max(m) });
    if largest > 0.0 { difference / largest } else { difference }
}

fn conforms<T: Scalar>(case: &str, alpha: f64, of_loss: f64, of_gradients: f64) {
    let expected = Expected::open(case);
    for form in [Form::Expanded, Form::Absorbed] {
        for keep in [Keep::Products, Keep::Inputs] {
            let (losses, all) = run::<T>(case, &config(alpha, form, keep));
            let ce = expected.numbers("loss.ce")[0];
            assert!(
                (losses.cross_entropy - ce).abs() <= of_loss,
                "{form:?}: {losses:?}, want {ce}"
            );
            let aux = expected.numbers("loss.aux")[0];
            assert!((losses.balance - aux).abs() <= of_loss, "{form:?}: {losses:?}, want {aux}");
            let file = expected.file();
            let wanted: Vec<_> =
                file.names().into_iter().filter_map(|n| n.strip_prefix("grad.")).collect();
            assert_eq!(wanted.len(), all.iter().count());
            for name in wanted {
                let want = expected.numbers(&format!("grad.{name}"));
                let found = worst(all.get(name).unwrap().values(), &want);
                assert!(found <= of_gradients, "{name}, {form:?}, {keep:?}: {found:e}");
            }
        }
    }
}

#[test]
fn v3_grad_in_f64_is_the_truth() {
    conforms::<f64>("v3_grad", 0.0, 1e-10, 1e-8);
}

#[test]
fn v2_grad_aux_in_f64_is_the_truth() {
    conforms::<f64>("v2_grad_aux", 0.1, 1e-10, 1e-8);
}

#[test]
fn both_in_f32_are_near_it() {
    conforms::<f32>("v3_grad", 0.0, 1e-5, 1e-4);
    conforms::<f32>("v2_grad_aux", 0.1, 1e-5, 1e-4);
}

#[test]
fn recomputing_changes_no_bit_and_keeps_less() {
    for form in [Form::Expanded, Form::Absorbed] {
        let (kept, a) = run::<f64>("v3_grad", &config(0.1, form, Keep::Products));
        let (again, b) = run::<f64>("v3_grad", &config(0.1, form, Keep::Inputs));
        assert!(again.activation_bytes < kept.activation_bytes, "{again:?}, {kept:?}");
        assert_eq!(Losses { activation_bytes: 0, ..kept }, Losses { activation_bytes: 0, ..again });
        assert!(a == b, "other gradients");
    }
}

/// Five steps of AdamW with the pack's settings: the losses before each and after the last, and some of
/// the weights then.
fn descends(case: &str, alpha: f64) {
    let (expected, config) = (Expected::open(case), config(alpha, Form::Expanded, Keep::Products));
    let (sizes, _) = ModelConfig::from_dir(dir(case)).unwrap();
    let mut weights = Parameters::<f64>::from_dir(&dir(case), &sizes).unwrap();
    let assignment = Assignment { decay: Decay::Everything, ..Assignment::default() };
    let settings = OptimizerConfig { assignment, ..OptimizerConfig::default() };
    let mut optimizer = Optimizer::new(settings, &weights).unwrap();
    let mut found = Vec::new();
    for step in 0..6 {
        let model = weights.model(Reference::<f64>::new(), &sizes, Dtype::F64).unwrap();
        let (losses, all) = gradients(&model, &expected.batch(), &config, &mut ()).unwrap();
        found.push(losses.total(&config));
        if step < 5 {
            optimizer.step(&Reference::<f64>::new(), &mut weights, &all, 1e-3).unwrap();
        }
    }
    for (got, want) in found.iter().zip(expected.numbers("adamw.losses")) {
        assert!((got - want).abs() <= 1e-8, "losses {found:?}, want {want}");
    }
    let file = expected.file();
    let after = file.names().into_iter().filter_map(|n| n.strip_prefix("adamw.after5."));
    for name in after {
        let want = expected.numbers(&format!("adamw.after5.{name}"));
        let worst = worst(weights.get(name).unwrap().values(), &want);
        assert!(worst <= 1e-8, "{name}: {worst:e}");
    }
}

#[test]
fn five_steps_of_adamw_reach_the_same_losses_and_weights() {
    descends("v3_grad", 0.0);
    descends("v2_grad_aux", 0.1);
}
