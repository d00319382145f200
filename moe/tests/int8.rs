//! Experts in 8 bits: how far they are from the reference, and what they keep.

use latent_moe::kernels::cpu::{Cpu, Isa};
use latent_moe::kernels::suite::{Storage, Values, wide};
use latent_moe::kernels::{Dtype, Reference};
use latent_moe::{Experts, MlpWeights, MoeError, Routing};

const EXPERTS: usize = 5;
const TOKENS: usize = 40;

fn weights([hidden, inner]: [usize; 2], values: &mut Values) -> MlpWeights {
    let mut weight = |shape| Storage { dtype: Dtype::Bf16, block: None }.weight(shape, values);
    MlpWeights {
        gate_proj: weight([inner, hidden]),
        up_proj: weight([inner, hidden]),
        down_proj: weight([hidden, inner]),
    }
}

/// Two experts for each token, every expert with tokens.
fn routing() -> Routing {
    let pairs = (0..TOKENS).flat_map(|t| {
        let (a, b) = (t % EXPERTS, (t + 1 + t / EXPERTS % 4) % EXPERTS);
        [a.min(b), a.max(b)]
    });
    let weights = (0..2 * TOKENS).map(|i| 0.25 + i as f64 / 100.0).collect();
    Routing::new(EXPERTS, 2, pairs.collect(), weights).expect("ascending")
}

fn routed<B: Experts<Routing = Routing>>(
    b: &B,
    weights: &[MlpWeights],
    x: &[B::Scalar],
) -> Vec<B::Scalar> {
    let stack = b.expert_stack(EXPERTS, |e| Ok::<_, MoeError>(weights[e].clone())).expect("alike");
    let x = b.upload(x, &[TOKENS, x.len() / TOKENS]).expect("small");
    b.download(&b.routed(&stack, &x, &routing()).expect("it fits")).expect("small")
}

#[test]
fn an_error_is_a_fiftieth_of_the_values_at_most() {
    let mut values = Values::new(21);
    for sizes in [[80, 7], [150, 140], [2048, 21]] {
        let weights: Vec<MlpWeights> = (0..EXPERTS).map(|_| weights(sizes, &mut values)).collect();
        let scale = 2.0 / (sizes[0] as f32).sqrt();
        let x: Vec<f32> =
            values.draw(TOKENS * sizes[0]).into_iter().map(|x: f32| scale * x).collect();
        let want = routed(&Reference::<f64>::new(), &weights, &wide(&x));
        let energy: f64 = want.iter().map(|y| y * y).sum();
        for cpu in [Cpu::new(), Cpu::with(Isa::Portable, 3).expect("any")] {
            let got = routed(&cpu.int8(), &weights, &x);
            let lost: f64 =
                got.iter().zip(&want).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum();
            assert!(lost > 0.0 && lost <= 0.02 * 0.02 * energy, "{sizes:?}: {lost} of {energy}");
        }
    }
}

#[test]
fn experts_are_packed_into_eight_and_a_half_bits() {
    let mut values = Values::new(22);
    // Multiples of 64 both: nothing is filled up.
    let weights = weights([128, 64], &mut values);
    let cpu = Cpu::new().int8();
    let stack = cpu.expert_stack(3, |_| Ok::<_, MoeError>(weights.clone())).expect("alike");
    assert_eq!(stack.bytes() * 8 * 2, 3 * 3 * 128 * 64 * 17);
}
