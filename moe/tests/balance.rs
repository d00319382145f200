//! Balance on numbers worked by hand.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "these numbers are exact")]

use latent_moe::balance::{load, max_vio, seq_aux_loss, sequence_loss, update_bias, z_loss};
use latent_moe::{MoeError, Routing};

fn close(got: f64, want: f64) -> bool {
    (got - want).abs() <= 1e-15 * want.abs().max(1.0)
}

fn routing(n: usize, k: usize, experts: &[usize]) -> Routing {
    Routing::new(n, k, experts.to_vec(), vec![1.0; experts.len()]).unwrap()
}

#[test]
fn load_counts_tokens() {
    assert_eq!(load(&routing(4, 2, &[0, 3, 0, 1, 0, 3])), [3, 1, 0, 2]);
    assert_eq!(load(&routing(2, 1, &[])), [0, 0]);
}

#[test]
fn max_vio_is_relative_to_the_mean() {
    assert!(close(max_vio(&[2, 2, 2]), 0.0));
    assert!(close(max_vio(&[3, 1, 0, 2]), 1.0)); // mean 1.5
    assert!(close(max_vio(&[0, 0, 0, 7]), 3.0)); // one takes all of 4
    assert!(close(max_vio(&[]), 0.0));
    assert!(close(max_vio(&[0, 0]), 0.0));
}

#[test]
fn the_bias_moves_against_the_load() {
    let mut bias = [0.5, 0.5, 0.5, 0.5];
    update_bias(&mut bias, &[4, 2, 1, 1], 0.25).unwrap(); // mean 2
    assert_eq!(bias, [0.25, 0.5, 0.75, 0.75]);
    // A mean of 1/3 that no float holds: nobody is at it, and 3 * 1/3 is.
    let mut bias = [0.0; 3];
    update_bias(&mut bias, &[0, 0, 1], 1.0).unwrap();
    assert_eq!(bias, [1.0, 1.0, -1.0]);
    update_bias(&mut bias, &[0, 0, 0], 1.0).unwrap();
    assert_eq!(bias, [1.0, 1.0, -1.0]);
    update_bias(&mut [], &[], 1.0).unwrap();
}

#[test]
fn a_bad_update_changes_nothing() {
    let mut bias = [0.0; 2];
    assert!(update_bias(&mut bias, &[1, 0, 0], 1.0).is_err());
    for gamma in [f64::NAN, f64::INFINITY, -1.0] {
        assert!(update_bias(&mut bias, &[1, 0], gamma).is_err());
    }
    assert_eq!(bias, [0.0; 2]);
}

#[test]
fn even_use_costs_alpha() {
    let routing = routing(4, 2, &[0, 1, 2, 3]);
    let scores = [0.5; 8];
    assert!(close(sequence_loss(&scores, &routing, &[2], 1e-4).unwrap(), 1e-4));
    // Unnormalised scores of 0.5 sum to 2, not 1.
    assert!(close(seq_aux_loss(&scores, &routing, &[2], 1e-4).unwrap(), 2e-4));
}

#[test]
fn losses_are_means_over_sequences() {
    // Sequence 0, one token, expert 0: f = [2, 0], P = [0.75, 0.25], 1.5.
    // Sequence 1, two tokens, experts 0 and 1: f = [1, 1], 1.
    let routing = routing(2, 1, &[0, 0, 1]);
    let scores = [0.75, 0.25, 0.5, 0.5, 0.25, 0.75];
    for loss in [sequence_loss, seq_aux_loss] {
        assert!(close(loss(&scores, &routing, &[1, 2], 1.0).unwrap(), 1.25));
        // An empty sequence does not count.
        assert!(close(loss(&scores, &routing, &[1, 0, 2, 0], 1.0).unwrap(), 1.25));
        // One sequence: f = [4/3, 2/3], P = [0.5, 0.5].
        assert!(close(loss(&scores, &routing, &[3], 1.0).unwrap(), 1.0));
    }
}

#[test]
fn normalisation_tells_the_two_losses_apart() {
    let routing = routing(2, 1, &[0]);
    let scores = [0.6, 0.2]; // f = [2, 0]
    assert!(close(sequence_loss(&scores, &routing, &[1], 1.0).unwrap(), 1.5));
    assert!(close(seq_aux_loss(&scores, &routing, &[1], 1.0).unwrap(), 1.2));
    // Scores of 0 have nothing to normalise.
    assert!(close(sequence_loss(&[0.0, 0.0], &routing, &[1], 1.0).unwrap(), 0.0));
}

#[test]
fn no_tokens_cost_nothing() {
    let routing = routing(3, 2, &[]);
    for lengths in [&[][..], &[0, 0]] {
        assert!(close(sequence_loss(&[], &routing, lengths, 1.0).unwrap(), 0.0));
        assert!(close(seq_aux_loss(&[], &routing, lengths, 1.0).unwrap(), 0.0));
    }
    assert!(close(z_loss(&[], 3).unwrap(), 0.0));
}

#[test]
fn arguments_that_do_not_fit_are_errors() {
    let routing = routing(2, 1, &[0, 1]);
    for loss in [sequence_loss, seq_aux_loss] {
        assert!(matches!(loss(&[0.5; 3], &routing, &[2], 1.0), Err(MoeError::Kernel(_))));
        assert!(matches!(loss(&[0.5; 4], &routing, &[1], 1.0), Err(MoeError::Kernel(_))));
        assert!(loss(&[0.5; 4], &routing, &[usize::MAX, 3], 1.0).is_err());
        assert!(loss(&[0.5; 4], &routing, &[2], f64::NAN).is_err());
    }
    assert!(matches!(z_loss(&[0.0; 3], 2), Err(MoeError::Kernel(_))));
    assert!(z_loss(&[], 0).is_err());
}

#[test]
fn z_loss_is_the_square_of_the_log_sum() {
    // ln(1 + 3) and ln(2 + 2).
    let logits = [1.0_f64, 3.0, 2.0, 2.0].map(f64::ln);
    assert!(close(z_loss(&logits, 2).unwrap(), 4.0_f64.ln().powi(2)));
    let infinity = f64::INFINITY;
    assert!(matches!(
        z_loss(&[0.0, infinity], 2),
        Err(MoeError::Logit { token: 0, expert: 1, .. })
    ));
    assert_eq!(z_loss(&[0.0, 0.0, -infinity, -infinity], 2), Err(MoeError::NoScore { token: 1 }));
}
