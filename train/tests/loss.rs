//! What a loss makes of batches at their edges.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;

use latent_kernels::{Dtype, Reference};
use latent_model::Model;
use latent_model::config::ModelConfig;
use latent_model::moe::balance::BalanceLosses;
use latent_train::{LossConfig, Losses, Parameters, Sequence, gradients};

type B = Reference<f64>;

/// A model with experts and a layer of multi-token prediction.
fn model() -> Model<B> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conformance/v3_mtp");
    let (sizes, _) = ModelConfig::from_dir(&dir).unwrap();
    let weights = Parameters::<f64>::from_dir(&dir, &sizes).unwrap();
    weights.model(Reference::new(), &sizes, Dtype::F64).unwrap()
}

fn config() -> LossConfig {
    let balance = BalanceLosses { seq_aux: 0.1, sequence: 0.2, z: 0.3 };
    LossConfig { balance, mtp_weight: 0.3, logits_chunk: 2, ..LossConfig::default() }
}

fn run(model: &Model<B>, batch: &[Sequence]) -> (Losses, Parameters<f64>) {
    gradients(model, batch, &config(), &mut ()).unwrap()
}

fn same(a: &(Losses, Parameters<f64>), b: &(Losses, Parameters<f64>)) -> bool {
    let without_memory = |losses: &Losses| Losses { activation_bytes: 0, ..*losses };
    without_memory(&a.0) == without_memory(&b.0) && a.1 == b.1
}

#[test]
fn a_batch_of_nothing_has_no_loss_and_gradients_of_zeros() {
    let model = model();
    for batch in [&[][..], &[Sequence::default(), Sequence::default()]] {
        let (losses, all) = run(&model, batch);
        assert_eq!(Losses { activation_bytes: 0, ..losses }, Losses::default());
        assert!(all.iter().all(|(_, array)| array.values().iter().all(|&v| v == 0.0)));
        assert!(all.elements() > 100_000);
    }
}

#[test]
fn empty_sequences_change_no_bit() {
    let (model, empty) = (model(), Sequence::default());
    let (a, b) = (Sequence::of(&[5, 17, 200, 3]), Sequence::of(&[8, 9]));
    let want = run(&model, &[a.clone(), b.clone()]);
    let batch = [empty.clone(), a, empty.clone(), b, empty];
    assert!(same(&run(&model, &batch), &want));
}

/// Of the layer of multi-token prediction as well, whose sequences are shorter by one.
#[test]
fn losses_on_routers_are_means_over_sequences() {
    let model = model();
    let (a, b) = (Sequence::of(&[5, 17, 200, 3, 44, 5]), Sequence::of(&[8, 9, 10]));
    for balance in [
        BalanceLosses { seq_aux: 0.1, ..BalanceLosses::default() },
        BalanceLosses { sequence: 0.2, ..BalanceLosses::default() },
    ] {
        let of = |batch: &[Sequence], mtp_weight| {
            let config = LossConfig { balance, mtp_weight, ..config() };
            gradients(&model, batch, &config, &mut ()).unwrap().0.balance
        };
        for mtp_weight in [0.0, 0.3] {
            let want = f64::midpoint(
                of(std::slice::from_ref(&a), mtp_weight),
                of(std::slice::from_ref(&b), mtp_weight),
            );
            let got = of(&[a.clone(), b.clone()], mtp_weight);
            assert!((got - want).abs() < 1e-12, "{balance:?}, {mtp_weight}: {got}, want {want}");
        }
        let both = [a.clone(), b.clone()];
        assert!(of(&both, 0.3) > of(&both, 0.0), "the layer's own are counted");
    }
}

/// A token without a target still is seen by those behind it, and by its router's losses.
#[test]
fn a_token_without_a_target_predicts_nothing() {
    let model = model();
    let mut masked = Sequence::of(&[5, 17, 200, 3]);
    masked.targets = vec![None; 4];
    let (losses, all) = run(&model, std::slice::from_ref(&masked));
    assert_eq!((losses.targets, losses.cross_entropy, losses.mtp), (0, 0.0, 0.0));
    assert!(losses.balance > 0.0);
    assert!(all.get("lm_head.weight").unwrap().values().iter().all(|&v| v == 0.0));
    let gate = all.get("model.layers.2.mlp.gate.weight").unwrap();
    assert!(gate.values().iter().any(|&v| v != 0.0));

    masked.targets[2] = Some(3);
    let (losses, _) = run(&model, &[masked]);
    assert_eq!(losses.targets, 1);
    let (whole, _) = run(&model, &[Sequence::of(&[5, 17, 200, 3])]);
    assert_eq!(whole.targets, 3);
    assert!(losses.cross_entropy > 0.0);
    assert!((losses.cross_entropy - whole.cross_entropy).abs() > 1e-3);
}

#[test]
fn targets_that_are_not_those_of_a_sequence_are_an_error() {
    let model = model();
    let (mut a, mut b) = (Sequence::of(&[1, 2, 3]), Sequence::of(&[4, 5, 6]));
    // As many targets as tokens over the batch, but not in each sequence.
    b.targets.insert(0, a.targets.pop().unwrap());
    let error = gradients(&model, &[a, b], &config(), &mut ()).map(drop).unwrap_err();
    assert_eq!(
        error.to_string(),
        "targets: shape [2], want [3], one for each token of its sequence"
    );
}

#[test]
fn a_target_outside_of_the_vocabulary_is_an_error() {
    let mut sequence = Sequence::of(&[1, 2, 3]);
    sequence.targets[0] = Some(320);
    let error = gradients(&model(), &[sequence], &config(), &mut ()).map(drop).unwrap_err();
    assert!(error.to_string().contains("320"), "{error}");
}
