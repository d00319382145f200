//! The suite, stamped for the fast backend, and what holds for it alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use latent_moe::kernels::cpu::{Cpu, Isa};
use latent_moe::kernels::suite::{Storage, Values, assert_same_bits, wide};
use latent_moe::kernels::{
    Backend, ByteOwner, Bytes, Dtype, Reference, Tolerance, Weight, assert_close, max_difference,
};
use latent_moe::{
    Experts, GateConfig, Mlp, MlpWeights, MoeError, Routing, ScoringFunc, TopkMethod,
};

mod fastest {
    use latent_moe::kernels::Tolerance;
    use latent_moe::kernels::cpu::Cpu;
    latent_moe::experts_suite!(Cpu::new(), Tolerance::F32);
}

mod portable {
    use latent_moe::kernels::Tolerance;
    use latent_moe::kernels::cpu::{Cpu, Isa};
    latent_moe::experts_suite!(Cpu::with(Isa::Portable, 3).expect("any"), Tolerance::F32);
}

/// Every set that this processor has, on one, two and three threads, and emulated tiles.
fn backends() -> impl Iterator<Item = Cpu> {
    let sets = Isa::detected().into_iter().flat_map(|isa| [1, 2, 3].map(|threads| (isa, threads)));
    let tiles = Cpu::with(Isa::best(), 2).expect("any").on_emulated_tiles();
    sets.map(|(isa, threads)| Cpu::with(isa, threads).expect("detected")).chain([tiles])
}

/// What products are computed in: `f32`, bf16 where weights are, 8 bits.
const PRODUCTS: [fn(Cpu) -> Cpu; 3] = [|cpu| cpu, Cpu::bf16, Cpu::int8];

/// Every backend with each of [`PRODUCTS`].
fn backends_and_products() -> impl Iterator<Item = Cpu> {
    backends().flat_map(|cpu| PRODUCTS.map(|products| products(cpu.clone())))
}

/// Gates of 1, 7, 64 and 256 experts, of every method and scoring.
fn gates() -> [GateConfig; 4] {
    let gate = |experts, k, scoring_func, topk_method| GateConfig {
        n_routed_experts: experts,
        num_experts_per_tok: k,
        scoring_func,
        topk_method,
        norm_topk_prob: topk_method != TopkMethod::Greedy,
        routed_scaling_factor: 1.5,
    };
    let v2 = TopkMethod::GroupLimitedGreedy { n_group: 8, topk_group: 3 };
    let v3 = TopkMethod::NoauxTc { n_group: 8, topk_group: 4 };
    [
        gate(1, 1, ScoringFunc::Sigmoid, TopkMethod::Greedy),
        gate(7, 3, ScoringFunc::SqrtSoftplus, TopkMethod::Greedy),
        gate(64, 6, ScoringFunc::Softmax, v2),
        gate(256, 8, ScoringFunc::Sigmoid, v3),
    ]
}

/// What the backend's gate makes of random logits.
fn route(gate: &GateConfig, tokens: usize, values: &mut Values) -> Routing {
    let (cpu, n) = (Cpu::new(), gate.n_routed_experts);
    let logits = cpu.upload(&values.draw(tokens * n), &[tokens, n]).expect("small");
    let bias = gate.has_bias().then(|| cpu.upload(&values.draw(n), &[n]).expect("small"));
    cpu.route(&logits, bias.as_ref(), gate).expect("finite")
}

/// All tokens to the same experts.
fn crowded(experts: usize, chosen: &[usize], tokens: usize) -> Routing {
    let weights = (0..tokens * chosen.len()).map(|i| f64::from(i as f32) / 8.0 - 1.0).collect();
    Routing::new(experts, chosen.len(), chosen.repeat(tokens), weights).expect("ascending")
}

/// Some tokens of a routing.
fn part(routing: &Routing, tokens: std::ops::Range<usize>) -> Routing {
    let k = routing.num_experts_per_tok();
    let choices = tokens.start * k..tokens.end * k;
    let experts = routing.experts()[choices.clone()].to_vec();
    let weights = routing.weights()[choices].to_vec();
    Routing::new(routing.n_routed_experts(), k, experts, weights).expect("part of one")
}

fn plain(dtype: Dtype) -> Storage {
    Storage { dtype, block: None }
}

/// The ways that checkpoints store experts.
fn storages() -> [[Storage; 3]; 6] {
    let of = |storage| [storage; 3];
    [
        of(plain(Dtype::Bf16)),
        of(plain(Dtype::F16)),
        of(plain(Dtype::F32)),
        of(Storage { dtype: Dtype::F8E4m3, block: Some([128, 128]) }),
        of(Storage { dtype: Dtype::I8, block: Some([1, 64]) }),
        MIXED,
    ]
}

/// Each weight in a way of its own, `down_proj` in blocks that no kernel reads.
const MIXED: [Storage; 3] = [
    Storage { dtype: Dtype::F8E4m3, block: Some([5, 16]) },
    Storage { dtype: Dtype::Bf16, block: None },
    Storage { dtype: Dtype::I8, block: Some([3, 7]) },
];

/// Sizes whose products are one block of outputs; several where weights are widened for many rows;
/// several where they are streamed.
const SIZES: [[usize; 2]; 3] = [[80, 7], [150, 140], [2048, 21]];

fn weights([hidden, inner]: [usize; 2], storage: [Storage; 3], values: &mut Values) -> MlpWeights {
    MlpWeights {
        gate_proj: storage[0].weight([inner, hidden], values),
        up_proj: storage[1].weight([inner, hidden], values),
        down_proj: storage[2].weight([hidden, inner], values),
    }
}

/// The weights of experts, the same however often they are asked for.
fn experts(n: usize, sizes: [usize; 2], storage: [Storage; 3]) -> Vec<MlpWeights> {
    let mut values = Values::new(11);
    (0..n).map(|_| weights(sizes, storage, &mut values)).collect()
}

fn stack<B: Experts>(b: &B, experts: &[MlpWeights]) -> B::ExpertStack {
    b.expert_stack(experts.len(), |e| Ok::<_, MoeError>(experts[e].clone())).expect("alike")
}

/// Tokens whose sums stay around 1.
fn tokens(n: usize, hidden: usize, values: &mut Values) -> Vec<f32> {
    let scale = 2.0 / (hidden as f32).sqrt();
    values.draw(n * hidden).into_iter().map(|x: f32| scale * x).collect()
}

fn routed(cpu: &Cpu, experts: &[MlpWeights], x: &[f32], routing: &Routing) -> Vec<f32> {
    let hidden = experts[0].gate_proj.cols();
    let x = cpu.upload(x, &[x.len() / hidden, hidden]).expect("small");
    let y = cpu.routed(&stack(cpu, experts), &x, routing).expect("it fits");
    assert_eq!(y.shape(), x.shape());
    cpu.download(&y).expect("on the host")
}

/// Holds each backend to the definition, within 1e-5 of the largest output.
fn assert_follows_the_reference(experts: &[MlpWeights], routing: &Routing, values: &mut Values) {
    let (hidden, reference) = (experts[0].gate_proj.cols(), Reference::<f64>::new());
    let x = tokens(routing.tokens(), hidden, values);
    let on_f64 = reference.upload(&wide(&x), &[routing.tokens(), hidden]).expect("small");
    let want = reference.routed(&stack(&reference, experts), &on_f64, routing).expect("it fits");
    let want = reference.download(&want).expect("on the host");
    let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    for cpu in [Cpu::new(), Cpu::with(Isa::Portable, 3).expect("any")] {
        let difference = max_difference(&routed(&cpu, experts, &x, routing), &want);
        let stored = experts[0].gate_proj.dtype();
        assert!(difference <= 1e-5 * scale, "{stored}: {difference:e} of {scale:e}");
    }
}

#[test]
fn every_number_of_experts_and_tokens_follows_the_reference() {
    let mut values = Values::new(1);
    for gate in gates() {
        for storage in storages() {
            let experts = experts(gate.n_routed_experts, SIZES[0], storage);
            for tokens in [0, 1, 2, 16, 300] {
                let routing = route(&gate, tokens, &mut values);
                assert_follows_the_reference(&experts, &routing, &mut values);
            }
        }
    }
}

#[test]
fn products_of_several_blocks_follow_the_reference() {
    let mut values = Values::new(2);
    for sizes in SIZES {
        for storage in storages() {
            let experts = experts(7, sizes, storage);
            for tokens in [1, 2, 40] {
                let routing = route(&gates()[1], tokens, &mut values);
                assert_follows_the_reference(&experts, &routing, &mut values);
            }
        }
    }
}

#[test]
fn all_tokens_may_choose_the_same_few_experts() {
    let mut values = Values::new(3);
    for (n, chosen) in [(7, &[3][..]), (64, &[0]), (64, &[63]), (256, &[17, 255])] {
        let experts = experts(n, [12, 5], MIXED);
        assert_follows_the_reference(&experts, &crowded(n, chosen, 65), &mut values);
    }
}

#[test]
fn threads_and_instructions_change_no_bit() {
    let mut values = Values::new(4);
    for sizes in SIZES {
        for storage in storages() {
            let experts = experts(7, sizes, storage);
            for n in [1, 5, 40] {
                let routing = route(&gates()[1], n, &mut values);
                let x = tokens(n, sizes[0], &mut values);
                for (i, products) in PRODUCTS.into_iter().enumerate() {
                    let of = |cpu: Cpu| routed(&products(cpu), &experts, &x, &routing);
                    let mut shared = None;
                    for isa in Isa::detected() {
                        let on = |threads| of(Cpu::with(isa, threads).expect("detected"));
                        let got = on(1);
                        assert_same_bits(&on(2), &got);
                        assert_same_bits(&on(3), &got);
                        // In 8 bits, tiles share them too.
                        if isa.shares_bits() || i == 2 && isa == Isa::Amx {
                            assert_same_bits(&got, shared.get_or_insert(got.clone()));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn shared_experts_have_the_bits_of_a_block_alone() {
    let mut values = Values::new(6);
    for cpu in backends_and_products() {
        for storage in storages() {
            let [hidden, inner] = SIZES[1];
            let experts = stack(&cpu, &experts(7, [hidden, inner], storage));
            let shared = weights([hidden, 2 * inner + 3], [plain(Dtype::Bf16); 3], &mut values);
            let shared = Mlp::upload(&cpu, shared).expect("any weights");
            for n in [0, 1, 5, 40] {
                let routing = route(&gates()[1], n, &mut values);
                let x = cpu.upload(&tokens(n, hidden, &mut values), &[n, hidden]).expect("it fits");
                let routed = cpu.routed(&experts, &x, &routing).expect("it fits");
                let block = shared.forward(&cpu, &x).expect("it fits");
                let apart = cpu.add(&routed, &block).expect("alike");
                let both = cpu.routed_and_shared(&experts, &shared, &x, &routing);
                let bits = |y| cpu.download(y).expect("on the host");
                assert_same_bits(&bits(&both.expect("it fits")), &bits(&apart));
            }
        }
    }
}

#[test]
fn a_token_has_the_same_bits_alone_and_in_any_batch() {
    let mut values = Values::new(5);
    for cpu in backends_and_products() {
        for sizes in SIZES {
            let experts = experts(7, sizes, MIXED);
            let x = tokens(29, sizes[0], &mut values);
            for routing in [route(&gates()[1], 29, &mut values), crowded(7, &[2, 6], 29)] {
                let batch = routed(&cpu, &experts, &x, &routing);
                for n in [1, 2, 7, 9] {
                    let parts = x.chunks(n * sizes[0]).enumerate().flat_map(|(i, x)| {
                        let tokens = n * i..(n * (i + 1)).min(29);
                        routed(&cpu, &experts, x, &part(&routing, tokens))
                    });
                    assert_same_bits(&parts.collect::<Vec<f32>>(), &batch);
                }
            }
        }
    }
}

#[test]
fn the_fused_path_has_the_bits_of_its_three_steps() {
    let mut values = Values::new(6);
    for sizes in SIZES {
        for n in [0, 1, 2, 33] {
            let (cpu, routing) = (Cpu::new(), route(&gates()[1], n, &mut values));
            let (x, weights) = (tokens(n, sizes[0], &mut values), experts(7, sizes, MIXED));
            let fused = routed(&cpu, &weights, &x, &routing);
            let x = cpu.upload(&x, &[n, sizes[0]]).expect("small");
            let steps = cpu
                .dispatch(&x, &routing)
                .and_then(|rows| cpu.run_experts(&stack(&cpu, &weights), &rows, &routing))
                .and_then(|rows| cpu.combine(&rows, &routing))
                .and_then(|y| Ok(cpu.download(&y)?));
            assert_same_bits(&fused, &steps.expect("it fits"));
        }
    }
}

#[test]
fn an_expert_has_the_bits_of_a_block_of_its_own() {
    for cpu in backends_and_products() {
        let mut values = Values::new(7);
        for storage in storages() {
            // The last one overflows: what rows are filled up with must be 0, since ∞ times 0 is NaN.
            let cases = [([150, 34], 1.0), ([2048, 21], 1.0), ([5, 1], 1.0), ([5, 1], 1e25)];
            for ([hidden, inner], scale) in cases {
                for n in [1, 6, 9] {
                    let x: Vec<f32> = values.draw(n * hidden);
                    let x: Vec<f32> = x.iter().map(|x| scale * x).collect();
                    let experts = experts(1, [hidden, inner], storage);
                    let block = Mlp::upload(&cpu, experts[0].clone()).expect("it fits");
                    let rows = cpu.upload(&x, &[n, hidden]).expect("small");
                    let want = block.forward(&cpu, &rows).expect("it fits");
                    let routing = Routing::new(1, 1, vec![0; n], vec![1.0; n]).expect("one");
                    let got = routed(&cpu, &experts, &x, &routing);
                    assert_same_bits(&got, &cpu.download(&want).expect("on the host"));
                    // The gates of a few rows may all be closed.
                    let overflows = got.iter().any(|y| !y.is_finite());
                    assert!(n < 9 || overflows == (scale > 1.0));
                }
            }
        }
    }
}

#[test]
fn a_token_is_summed_as_the_reference_sums_it() {
    // Another order loses the 1: (1e8 - 1e8) + 1 is 1, and (1 + 1e8) - 1e8 is 0.
    let cpu = Cpu::new();
    let rows = cpu.upload(&[1e8, -1e8, 1.0], &[3, 1]).expect("small");
    let routing = Routing::new(3, 3, vec![0, 1, 2], vec![0.5; 3]).expect("ascending");
    let y = cpu.combine(&rows, &routing).and_then(|y| Ok(cpu.download(&y)?));
    assert_close(&y.expect("it fits"), &[0.5], Tolerance::F32);

    let (mut values, reference) = (Values::new(8), Reference::<f32>::new());
    for gate in gates() {
        let routing = route(&gate, 19, &mut values);
        let n = routing.experts().len();
        let rows = cpu.upload(&values.draw(n * 37), &[n, 37]).expect("small");
        let want = reference.combine(&rows, &routing).expect("it fits");
        for cpu in backends() {
            let got = cpu.combine(&rows, &routing).expect("it fits");
            assert_same_bits(
                &cpu.download(&got).expect("on the host"),
                &reference.download(&want).expect("on the host"),
            );
        }
    }
}

#[test]
fn a_row_that_is_not_finite_spoils_no_other() {
    let mut values = Values::new(9);
    for [hidden, inner] in SIZES {
        let experts = experts(7, [hidden, inner], MIXED);
        for (n, routing) in [
            (3, route(&gates()[1], 3, &mut values)),
            (29, route(&gates()[1], 29, &mut values)),
            (29, crowded(7, &[1, 4], 29)),
        ] {
            let x = tokens(n, hidden, &mut values);
            let want = routed(&Cpu::new(), &experts, &x, &routing);
            for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
                let mut x = x.clone();
                x[hidden..2 * hidden].fill(bad);
                let got = routed(&Cpu::new(), &experts, &x, &routing);
                assert_same_bits(&got[..hidden], &want[..hidden]);
                assert_same_bits(&got[2 * hidden..], &want[2 * hidden..]);
                assert!(got[hidden..2 * hidden].iter().any(|y| !y.is_finite()));
            }
        }
    }
}

#[test]
fn a_gate_of_minus_infinity_closes() {
    // The gate's sum overflows to -∞, the second input's row does not.
    let of = |shape, values: &[f32]| Weight::encode(Dtype::F32, shape, values).expect("it fits");
    let experts = [MlpWeights {
        gate_proj: of([2, 1], &[f32::MIN, 1.0]),
        up_proj: of([2, 1], &[1.0, 1.0]),
        down_proj: of([1, 2], &[1.0, 1.0]),
    }];
    let routing = Routing::new(1, 1, vec![0], vec![1.0]).expect("one");
    for cpu in backends() {
        // silu(-∞) * 200 + silu(200) * 200
        assert_same_bits(&routed(&cpu, &experts, &[200.0], &routing), &[40_000.0]);
    }
}

/// Bytes that know how often they were asked for.
struct Watched {
    bytes: Vec<u8>,
    looks: AtomicUsize,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        self.looks.fetch_add(1, Ordering::Relaxed);
        &self.bytes
    }
}

impl ByteOwner for Watched {}

#[test]
fn weights_stay_where_they_lie_and_are_read_for_their_own_tokens_alone() {
    let owners: Vec<Arc<Watched>> = (0..7)
        .map(|_| Arc::new(Watched { bytes: vec![0x3f; 20 * 40 * 2], looks: 0.into() }))
        .collect();
    let looks = || owners.iter().map(|o| o.looks.load(Ordering::Relaxed)).collect::<Vec<usize>>();
    let weight = |e: usize, shape| {
        let bytes = Bytes::new(owners[e].clone(), 0..20 * 40 * 2).expect("inside");
        Weight::new(Dtype::Bf16, shape, bytes, None).expect("it fits")
    };
    for cpu in backends() {
        let experts = cpu.expert_stack(7, |e| {
            Ok::<_, MoeError>(MlpWeights {
                gate_proj: weight(e, [20, 40]),
                up_proj: weight(e, [20, 40]),
                down_proj: weight(e, [40, 20]),
            })
        });
        let experts = experts.expect("alike");
        assert_eq!(experts.bytes(), 7 * 3 * 20 * 40 * 2);
        assert!(owners.iter().all(|o| Arc::strong_count(o) == 1 + 3), "a copy");
        for n in [1, 12] {
            let before = looks();
            let x = cpu.upload(&vec![0.5; n * 40], &[n, 40]).expect("small");
            cpu.routed(&experts, &x, &crowded(7, &[2, 5], n)).expect("it fits");
            let read: Vec<bool> = looks().iter().zip(&before).map(|(a, b)| a > b).collect();
            assert_eq!(read, [false, false, true, false, false, true, false]);
        }
    }
}

#[test]
fn weights_of_chosen_experts_are_counted_once() {
    let (cpu, experts) = (Cpu::new(), experts(7, [16, 4], [plain(Dtype::Bf16); 3]));
    for n in [1, 12] {
        routed(&cpu, &experts, &vec![0.5; n * 16], &crowded(7, &[2, 5], n));
        let ledger = cpu.take_ledger();
        let names: Vec<&str> = ledger.kernels.keys().copied().collect();
        assert_eq!((names, ledger.total().launches), (vec!["experts_down", "experts_up"], 2));
        // For each of two experts two matrices of [4, 16], or one; inputs and outputs of their rows.
        let [up, down] = ["experts_up", "experts_down"].map(|name| ledger.kernels[name]);
        let (n, rows) = (n as u64, 2 * n as u64 * (16 + 4));
        assert_eq!(up.floor_bytes, 2 * 2 * 2 * 4 * 16 + 4 * rows);
        assert_eq!(down.floor_bytes, 2 * 2 * 4 * 16 + 4 * rows);
        assert_eq!(up.multiply_adds, 2 * n * 2 * 4 * 16);
        assert_eq!(down.multiply_adds, 2 * n * 4 * 16);
    }
}

#[test]
fn experts_that_do_not_fit_are_errors() {
    let cpu = Cpu::new();
    let filled = |rows, cols| {
        Weight::encode(Dtype::F32, [rows, cols], &vec![0.0_f32; rows * cols]).expect("it fits")
    };
    let fine =
        || MlpWeights { gate_proj: filled(2, 3), up_proj: filled(2, 3), down_proj: filled(3, 2) };
    let refused = |weights: &[MlpWeights]| {
        let get = |e: usize| Ok::<_, MoeError>(weights[e].clone());
        cpu.expert_stack(weights.len(), get).unwrap_err()
    };
    let wanted = |name: &str, found: [usize; 2], wanted: [usize; 2]| MoeError::Weight {
        name: format!("experts.{name}.weight"),
        found,
        wanted,
    };
    for e in [0, 1] {
        let with = |other: MlpWeights| if e == 0 { vec![other] } else { vec![fine(), other] };
        let error = refused(&with(MlpWeights { up_proj: filled(2, 4), ..fine() }));
        assert_eq!(error, wanted(&format!("{e}.up_proj"), [2, 4], [2, 3]));
        let error = refused(&with(MlpWeights { down_proj: filled(2, 3), ..fine() }));
        assert_eq!(error, wanted(&format!("{e}.down_proj"), [2, 3], [3, 2]));
    }
    let error = refused(&[fine(), MlpWeights { gate_proj: filled(3, 3), ..fine() }]);
    assert_eq!(error, wanted("1.gate_proj", [3, 3], [2, 3]));
    for [inner, hidden] in [[0, 3], [3, 0], [0, 0]] {
        let (up, down) = (filled(inner, hidden), filled(hidden, inner));
        let empty = MlpWeights { gate_proj: up.clone(), up_proj: up, down_proj: down };
        assert!(matches!(refused(&[empty]), MoeError::Kernel(_)));
    }
    assert!(matches!(refused(&[]), MoeError::Kernel(_)));
    let error = cpu.expert_stack(2, |_| Err(MoeError::NoScore { token: 0 })).unwrap_err();
    assert_eq!(error, MoeError::NoScore { token: 0 });
}

#[test]
fn rows_that_do_not_fit_are_errors() {
    let cpu = Cpu::new();
    let experts = stack(&cpu, &experts(2, [3, 2], MIXED));
    let zeros = |shape: &[usize]| {
        cpu.upload(&vec![0.0; shape.iter().product()], shape).expect("as many as the shape has")
    };
    let routing = crowded(2, &[1], 2);
    for shape in [&[2, 4][..], &[2, 0], &[3, 3], &[1, 3], &[6], &[], &[2, 3, 1]] {
        let error = cpu.routed(&experts, &zeros(shape), &routing).unwrap_err();
        assert!(matches!(error, MoeError::Kernel(_)), "{error}");
        let error = cpu.run_experts(&experts, &zeros(shape), &routing).unwrap_err();
        assert!(matches!(error, MoeError::Kernel(_)), "{error}");
    }
    let error = cpu.routed(&experts, &zeros(&[0, 4]), &crowded(2, &[1], 0)).unwrap_err();
    assert!(matches!(error, MoeError::Kernel(_)), "{error}");
    let three = crowded(3, &[1], 2);
    for result in [
        cpu.routed(&experts, &zeros(&[2, 3]), &three),
        cpu.run_experts(&experts, &zeros(&[2, 3]), &three),
    ] {
        let error = result.unwrap_err().to_string();
        assert_eq!(error, "routing: n_routed_experts 3, want 2, as the stack holds");
    }
    // Rows without columns are combined to none.
    assert_eq!(cpu.combine(&zeros(&[2, 0]), &routing).expect("it fits").shape(), [2, 0]);
}
