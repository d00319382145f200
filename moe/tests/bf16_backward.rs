//! Gradients of experts whose products are in bf16: near the reference, and the same bits on any threads.

use latent_moe::kernels::cpu::{Cpu, Isa};
use latent_moe::kernels::suite::{Storage, Values, assert_same_bits, wide};
use latent_moe::kernels::{Dtype, Reference, Scalar};
use latent_moe::{ExpertsBackward, MlpWeights, MoeError, Routing};

const EXPERTS: usize = 6;
/// The last expert has no token.
const CHOSEN: usize = 5;
const SIZES: [usize; 2] = [70, 33];

fn weights(dtype: Dtype, values: &mut Values) -> MlpWeights {
    let [hidden, inner] = SIZES;
    let mut weight = |shape| Storage { dtype, block: None }.weight(shape, values);
    MlpWeights {
        gate_proj: weight([inner, hidden]),
        up_proj: weight([inner, hidden]),
        down_proj: weight([hidden, inner]),
    }
}

/// Two experts for each token.
fn routing(tokens: usize) -> Routing {
    let pairs = (0..tokens).flat_map(|t| {
        let (a, b) = (t % CHOSEN, (t + 1 + t / CHOSEN % 4) % CHOSEN);
        [a.min(b), a.max(b)]
    });
    let weights = (0..2 * tokens).map(|i| 0.25 + i as f64 / 100.0).collect();
    Routing::new(EXPERTS, 2, pairs.collect(), weights).expect("ascending")
}

/// The gradients by inputs, by the weights of experts, and by each expert's own weights.
fn gradients<B: ExpertsBackward<Routing = Routing>>(
    b: &B,
    weights: &[MlpWeights],
    [x, dy]: [&[f32]; 2],
) -> Vec<Vec<B::Scalar>> {
    let stack = b.expert_stack(EXPERTS, |e| Ok::<_, MoeError>(weights[e].clone())).expect("alike");
    let [hidden, _] = SIZES;
    let routing = routing(x.len() / hidden);
    let rows = |v: &[f32]| {
        let v: Vec<B::Scalar> = v.iter().map(|&v| Scalar::from_f64(v.into())).collect();
        b.upload(&v, &[v.len() / hidden, hidden]).expect("small")
    };
    let (x, dy) = (rows(x), rows(dy));
    let (_, saved) = b.routed_saving(&stack, &x, &routing).expect("it fits");
    let found = b.routed_backward(&stack, &x, &routing, &saved, &dy).expect("it fits");
    let of_experts = found.experts.into_iter();
    let each = of_experts.flat_map(|mlp| mlp.named().into_iter().map(|(_, gradient)| gradient));
    let all = [found.dx, found.d_weights].into_iter().chain(each);
    all.map(|gradient| b.download(&gradient).expect("small")).collect()
}

fn drawn(dtype: Dtype, tokens: usize) -> (Vec<MlpWeights>, [Vec<f32>; 2]) {
    let mut values = Values::new(31);
    let weights = (0..EXPERTS).map(|_| weights(dtype, &mut values)).collect();
    let mut rows = || values.draw(tokens * SIZES[0]);
    (weights, [rows(), rows()])
}

#[test]
fn each_is_near_the_definition_and_none_is_it() {
    let (weights, [x, dy]) = drawn(Dtype::Bf16, 60);
    let want = gradients(&Reference::<f64>::new(), &weights, [&x, &dy]);
    let sets = Isa::detected().into_iter().map(|isa| Cpu::with(isa, 2).expect("detected"));
    for cpu in sets.chain([Cpu::new().on_emulated_tiles()]) {
        let got = gradients(&cpu.bf16(), &weights, [&x, &dy]);
        assert_eq!(got.len(), 2 + 3 * EXPERTS);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let energy: f64 = want.iter().map(|v| v * v).sum();
            let lost: f64 =
                wide(got).iter().zip(want).map(|(got, want)| (got - want).powi(2)).sum();
            if i >= 2 + 3 * CHOSEN {
                assert!(got.iter().all(|v| *v == 0.0), "an expert without tokens");
            } else {
                // Each operand is off by 2^-9 of itself at most; so is what it came from.
                let error = (lost / energy).sqrt();
                assert!(error > 1e-5 && error < 1e-2, "gradient {i}: {error}");
            }
        }
    }
}

#[test]
fn threads_instructions_and_batch_mates_change_no_bit() {
    let (weights, [x, dy]) = drawn(Dtype::Bf16, 60);
    let mut shared = None;
    for isa in Isa::detected() {
        let on = |threads| Cpu::with(isa, threads).expect("detected").bf16();
        let all = gradients(&on(1), &weights, [&x, &dy]);
        for (got, want) in gradients(&on(3), &weights, [&x, &dy]).iter().zip(&all) {
            assert_same_bits(got, want);
        }
        // A part of the tokens: those in front have the same experts and weights.
        let part = 7 * SIZES[0];
        let few = gradients(&on(2), &weights, [&x[..part], &dy[..part]]);
        assert_same_bits(&few[0], &all[0][..part]);
        if isa.shares_bits() {
            let first = shared.get_or_insert_with(|| all.clone());
            first.iter().zip(&all).for_each(|(want, got)| assert_same_bits(got, want));
        }
    }
}

#[test]
fn other_weights_have_gradients_in_f32() {
    let (weights, [x, dy]) = drawn(Dtype::F32, 40);
    let same = |weights: &[MlpWeights]| {
        let want = gradients(&Cpu::new(), weights, [&x, &dy]);
        let got = gradients(&Cpu::new().bf16(), weights, [&x, &dy]);
        got.iter().zip(&want).for_each(|(got, want)| assert_same_bits(got, want));
    };
    same(&weights);
    // The forward pass of the one expert is in bf16 then, and gradients of all are near.
    for e in [0, 1] {
        let mut mixed = weights.clone();
        mixed[e] = drawn(Dtype::Bf16, 1).0.swap_remove(e);
        let want = gradients(&Reference::<f64>::new(), &mixed, [&x, &dy]);
        let got = gradients(&Cpu::new().bf16(), &mixed, [&x, &dy]);
        for (got, want) in got.iter().zip(&want) {
            let largest = want.iter().fold(1.0_f64, |m, v| m.max(v.abs()));
            let far = wide(got).iter().zip(want).fold(0.0_f64, |m, (g, w)| m.max((g - w).abs()));
            assert!(far <= 1e-2 * largest, "{far} of {largest}");
        }
    }
}
