//! The suite, stamped for a GPU, and what holds for a device alone.

#![cfg(feature = "gpu")]

use std::sync::OnceLock;

use latent_moe::gpu::{ExpertPlan, GpuRouting};
use latent_moe::kernels::gpu::{DeviceChoice, Gpu};
use latent_moe::kernels::suite::{Storage, Values, assert_same_bits, for_all, wide};
use latent_moe::kernels::{
    Backend, Dtype, KernelError, Reference, Tensor, Tolerance, Weight, assert_close,
};
use latent_moe::suite::definition;
use latent_moe::{
    Dispatch, Experts, GateConfig, Mlp, MlpWeights, MoeError, Routing, ScoringFunc, TopkMethod,
};
use proptest::prelude::*;

/// The device that all tests share, full of NaN where nothing was written.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::poisoned(DeviceChoice::First).expect("a device")).clone()
}

mod suite {
    use latent_moe::kernels::Tolerance;
    latent_moe::experts_suite!(super::super::gpu(), Tolerance::F32);
}

fn gate(experts: usize, k: usize, scoring_func: ScoringFunc, method: TopkMethod) -> GateConfig {
    GateConfig {
        n_routed_experts: experts,
        num_experts_per_tok: k,
        scoring_func,
        topk_method: method,
        norm_topk_prob: method != TopkMethod::Greedy,
        routed_scaling_factor: 1.5,
    }
}

/// Gates of 1, 7, 64 and 256 experts, of every method and scoring.
fn gates() -> [GateConfig; 5] {
    let v2 = TopkMethod::GroupLimitedGreedy { n_group: 8, topk_group: 3 };
    let v3 = TopkMethod::NoauxTc { n_group: 8, topk_group: 4 };
    let one = TopkMethod::NoauxTc { n_group: 1, topk_group: 1 };
    [
        gate(1, 1, ScoringFunc::Sigmoid, one),
        gate(7, 3, ScoringFunc::SqrtSoftplus, TopkMethod::Greedy),
        gate(64, 6, ScoringFunc::Softmax, TopkMethod::Greedy),
        gate(64, 6, ScoringFunc::Softmax, v2),
        gate(256, 8, ScoringFunc::Sigmoid, v3),
    ]
}

/// The bias of a gate that adds one.
fn bias(gate: &GateConfig) -> Option<Vec<f32>> {
    gate.has_bias().then(|| (0..gate.n_routed_experts).map(|e| (e * 5 % 7) as f32 / 8.0).collect())
}

/// Logits `[token, expert]` from -4 to 4 in which no two scores are closer than a rounding.
fn clear_logits(gate: &GateConfig, tokens: usize, values: &mut Values) -> Vec<f32> {
    let bias = bias(gate).map(|b| wide(&b));
    let row = || values.draw::<f32>(gate.n_routed_experts).iter().map(|x| 4.0 * x).collect();
    let clear = |row: &Vec<f32>| definition::is_clear(gate, &wide(row), bias.as_deref());
    std::iter::repeat_with(row).filter(clear).take(tokens).flatten().collect()
}

/// Routes on a backend.
fn route<B: Experts<Scalar: From<f32>>>(b: &B, gate: &GateConfig, logits: &[f32]) -> B::Routing {
    let cast = |x: &[f32]| x.iter().map(|&x| x.into()).collect::<Vec<B::Scalar>>();
    let n = gate.n_routed_experts;
    let bias = bias(gate).map(|x| b.upload(&cast(&x), &[n]).expect("small"));
    let logits = b.upload(&cast(logits), &[logits.len() / n, n]).expect("small");
    b.route(&logits, bias.as_ref(), gate).expect("logits that can be scored")
}

/// Experts of `[hidden, inner]` features, gate, up and down each stored in a way of its own.
fn weights([hidden, inner]: [usize; 2], storage: [Storage; 3], values: &mut Values) -> MlpWeights {
    MlpWeights {
        gate_proj: storage[0].weight([inner, hidden], values),
        up_proj: storage[1].weight([inner, hidden], values),
        down_proj: storage[2].weight([hidden, inner], values),
    }
}

fn plain(dtype: Dtype) -> Storage {
    Storage { dtype, block: None }
}

const MIXED: [Storage; 3] = [
    Storage { dtype: Dtype::F8E4m3, block: Some([5, 16]) },
    Storage { dtype: Dtype::Bf16, block: None },
    Storage { dtype: Dtype::I8, block: Some([3, 7]) },
];

/// The same experts on a backend, however often they are asked for.
fn stack<B: Experts>(b: &B, experts: usize, sizes: [usize; 2], s: [Storage; 3]) -> B::ExpertStack {
    let mut values = Values::new(11);
    b.expert_stack(experts, |_| Ok::<_, MoeError>(weights(sizes, s, &mut values))).expect("alike")
}

/// Holds routing, order and routed output of some tokens to the reference.
fn assert_follows_the_reference(gate: &GateConfig, logits: &[f32], [hidden, inner]: [usize; 2]) {
    let (gpu, cpu, n) = (gpu(), Reference::<f64>::new(), gate.n_routed_experts);
    let tokens = logits.len() / n;
    let (routing, want) = (route(&gpu, gate, logits), route(&cpu, gate, logits));
    let got = gpu.host_routing(&routing).expect("logits that can be scored");
    assert_eq!(got.experts(), want.experts());
    assert_close(got.weights(), want.weights(), Tolerance::F32);
    assert_tables_are_those_of_the_host(&gpu, &routing, &got);

    // Sums stay around 1.
    let scale = 2.0 / (hidden as f32).sqrt();
    let x = Values::new(5).draw::<f32>(tokens * hidden);
    let x: Vec<f32> = x.into_iter().map(|x| scale * x).collect();
    let on_cpu = cpu.upload(&wide(&x), &[tokens, hidden]).expect("small");
    let experts = stack(&cpu, n, [hidden, inner], MIXED);
    let want = cpu.routed(&experts, &on_cpu, &want).expect("it fits");
    let x = gpu.upload(&x, &[tokens, hidden]).expect("small");
    let got = gpu.routed(&stack(&gpu, n, [hidden, inner], MIXED), &x, &routing).expect("it fits");
    assert_eq!(got.shape(), [tokens, hidden]);
    let want: Vec<f64> = want.into_iter().collect();
    assert_close(&gpu.download(&got).expect("it runs"), &want, Tolerance::F32);
}

fn assert_tables_are_those_of_the_host(gpu: &Gpu, routing: &GpuRouting, host: &Routing) {
    let read = |table| -> Vec<usize> {
        gpu.read_words(table).expect("it runs").into_iter().map(|w| w as usize).collect()
    };
    let (dispatch, k) = (Dispatch::new(host), host.num_experts_per_tok());
    let choices = read(routing.choices_of_rows());
    let tokens: Vec<usize> = choices.iter().map(|c| c / k).collect();
    let weights: Vec<f64> = choices.iter().map(|&c| host.weights()[c]).collect();
    let rows: Vec<usize> =
        (0..host.tokens()).flat_map(|t| dispatch.rows_of_token(t)).copied().collect();
    assert_eq!(read(routing.offsets()), dispatch.offsets());
    assert_eq!(tokens, dispatch.tokens());
    assert_same_bits(&weights, dispatch.weights());
    assert_eq!(read(routing.rows_of_choices()), rows);
}

#[test]
fn every_number_of_experts_and_tokens_follows_the_reference() {
    let mut values = Values::new(1);
    for gate in gates() {
        for tokens in [0, 1, 2, 65] {
            let logits = clear_logits(&gate, tokens, &mut values);
            assert_follows_the_reference(&gate, &logits, [21, 9]);
        }
    }
    // Rows longer than 32 lanes take at once.
    let logits = clear_logits(&gates()[1], 5, &mut values);
    assert_follows_the_reference(&gates()[1], &logits, [149, 133]);
}

#[test]
fn all_tokens_may_choose_the_same_few_experts() {
    for (n, chosen) in [(7, &[3][..]), (64, &[0]), (256, &[17, 255])] {
        let gate = gate(n, chosen.len(), ScoringFunc::Sigmoid, TopkMethod::Greedy);
        let row = (0..n).map(|e| if chosen.contains(&e) { 2.0 } else { -1.0 });
        let logits: Vec<f32> = row.collect::<Vec<_>>().repeat(65);
        assert_follows_the_reference(&gate, &logits, [12, 5]);
    }
}

/// More tokens, and more cubes of a product, than the 65,535 of an axis of a grid.
#[test]
fn many_choices_are_laid_over_a_grid_of_two_axes() {
    let gate = gate(7, 1, ScoringFunc::Sigmoid, TopkMethod::Greedy);
    let mut values = Values::new(2);
    let logits: Vec<f32> = values
        .indices(70_000, 7)
        .iter()
        .flat_map(|&c| (0..7).map(move |e| f32::from(u8::from(e == c))))
        .collect();
    assert_follows_the_reference(&gate, &logits, [65, 2]);
}

#[test]
fn a_gate_of_a_thousand_experts_is_counted_by_few_units() {
    let v3 = TopkMethod::NoauxTc { n_group: 64, topk_group: 5 };
    let gate = gate(1024, 9, ScoringFunc::Sigmoid, v3);
    let mut logits: Vec<f32> =
        (0..3 * 1024).map(|i| (i * 389 % 1021) as f32 / 128.0 - 4.0).collect();
    // Expert 4 is the best of all, and its group the best of the first eight, but of no more.
    logits.extend((0..1024).map(|e| match e {
        4 => 4.0,
        0..16 => -4.0,
        16..128 => -1.0,
        _ => 1.0,
    }));
    let got = gpu().host_routing(&route(&gpu(), &gate, &logits)).expect("finite");
    let want = route(&Reference::<f64>::new(), &gate, &logits);
    assert_eq!(got.experts(), want.experts());
    assert_close(got.weights(), want.weights(), Tolerance::F32);
}

#[test]
fn more_experts_than_shared_memory_holds_are_an_error() {
    let n = gpu().limits().shared_bytes;
    let gate = gate(n, 1, ScoringFunc::Sigmoid, TopkMethod::Greedy);
    let logits = gpu().filled(0.0, &[1, n]).expect("small");
    let error = gpu().route(&logits, None, &gate).unwrap_err();
    assert!(matches!(error, MoeError::Kernel(KernelError::DeviceLimit { .. })), "{error}");
}

#[test]
fn small_scores_keep_their_digits() {
    let logits: Vec<f32> = (0..64).map(|e| e as f32 - 40.0).collect();
    for scoring_func in [ScoringFunc::Sigmoid, ScoringFunc::SqrtSoftplus] {
        let gate = gate(64, 64, scoring_func, TopkMethod::Greedy);
        let got = gpu().host_routing(&route(&gpu(), &gate, &logits)).expect("finite");
        let scores = definition::scores(&wide(&logits), scoring_func);
        let ratios: Vec<f64> =
            got.weights().iter().zip(&scores).map(|(w, s)| w / (1.5 * s)).collect();
        assert_close(&ratios, &[1.0; 64], Tolerance::F32);
    }
}

/// The routed part of 7 experts for tokens whose rows an expert gets 1, 2 or 4 at a time.
fn routed(gpu: &Gpu, s: [Storage; 3], x: &[f32], logits: &[f32], gate: &GateConfig) -> Vec<f32> {
    let x = gpu.upload(x, &[x.len() / 21, 21]).expect("small");
    let experts = stack(gpu, 7, [21, 9], s);
    let y = gpu.routed(&experts, &x, &route(gpu, gate, logits)).expect("it fits");
    gpu.download(&y).expect("it runs")
}

#[test]
fn tiles_of_any_height_give_the_same_bits() {
    let (gate, mut values) = (&gates()[1], Values::new(3));
    let (logits, x) = (clear_logits(gate, 40, &mut values), values.draw::<f32>(40 * 21));
    let parts = |tokens: usize, height: usize| {
        assert_eq!(ExpertPlan::new(3 * tokens, 7).tile.rows, height);
        let rows = x.chunks(tokens * 21).zip(logits.chunks(tokens * 7));
        rows.flat_map(|(x, logits)| routed(&gpu(), MIXED, x, logits, gate)).collect::<Vec<f32>>()
    };
    let whole = parts(40, 8);
    for (tokens, height) in [(1, 1), (4, 2), (10, 4)] {
        assert_same_bits(&parts(tokens, height), &whole);
    }
}

#[test]
fn the_fused_path_has_the_bits_of_its_three_steps() {
    let (gpu, gate, mut values) = (gpu(), &gates()[1], Values::new(4));
    for tokens in [0, 1, 2, 33] {
        let routing = route(&gpu, gate, &clear_logits(gate, tokens, &mut values));
        let x = gpu.upload(&values.draw(tokens * 21), &[tokens, 21]).expect("small");
        let experts = stack(&gpu, 7, [21, 9], MIXED);
        let fused = gpu.routed(&experts, &x, &routing).and_then(|y| Ok(gpu.download(&y)?));
        let steps = gpu
            .dispatch(&x, &routing)
            .and_then(|rows| gpu.run_experts(&experts, &rows, &routing))
            .and_then(|rows| gpu.combine(&rows, &routing))
            .and_then(|y| Ok(gpu.download(&y)?));
        assert_same_bits(&fused.expect("it runs"), &steps.expect("it runs"));
    }
}

#[test]
fn a_token_is_summed_in_ascending_expert_id() {
    // Another order loses the 1: (1e8 - 1e8) + 1 is 1, and (1 + 1e8) - 1e8 is 0.
    let gate = gate(3, 3, ScoringFunc::Sigmoid, TopkMethod::Greedy);
    let rows = gpu().upload(&[1e8, -1e8, 1.0], &[3, 1]).expect("small");
    let routing = route(&gpu(), &gate, &[0.0; 3]);
    let y = gpu().combine(&rows, &routing).and_then(|y| Ok(gpu().download(&y)?));
    assert_close(&y.expect("it runs"), &[0.75], Tolerance::F32);
}

#[test]
fn an_expert_has_the_bits_of_a_block_of_its_own() {
    let (gpu, mut values) = (gpu(), Values::new(6));
    // The weight of the only expert is exactly 1.
    let gate = GateConfig { routed_scaling_factor: 1.0, ..gates()[0].clone() };
    // The last one overflows: what rows are filled up with must be 0, since ∞ times 0 is NaN.
    for ([hidden, inner], scale) in [([150, 34], 1.0), ([5, 1], 1.0), ([5, 1], 1e20)] {
        let x: Vec<f32> = values.draw(6 * hidden).iter().map(|x: &f32| scale * x).collect();
        let x = gpu.upload(&x, &[6, hidden]).expect("small");
        let block = weights([hidden, inner], MIXED, &mut Values::new(11));
        let block = Mlp::upload(&gpu, block).expect("alike");
        let want = block.forward(&gpu, &x).and_then(|y| Ok(gpu.download(&y)?)).expect("it runs");
        let experts = stack(&gpu, 1, [hidden, inner], MIXED);
        let got = gpu.routed(&experts, &x, &route(&gpu, &gate, &[0.5; 6])).expect("it fits");
        assert_same_bits(&gpu.download(&got).expect("it runs"), &want);
        assert_eq!(want.iter().any(|y| y.is_infinite()), scale > 1.0);
    }
}

#[test]
fn stacks_in_several_buffers_give_the_same_bits() {
    let small = Gpu::poisoned_within(DeviceChoice::First, 2400).expect("a device");
    let (gate, mut values) = (&gates()[1], Values::new(7));
    let (logits, x) = (clear_logits(gate, 6, &mut values), values.draw::<f32>(6 * 21));
    // 2, 5 and 4 experts fit into a buffer.
    let storage = [Dtype::F32, Dtype::Bf16, Dtype::F16].map(plain);
    let got = routed(&small, storage, &x, &logits, gate);
    assert_same_bits(&got, &routed(&gpu(), storage, &x, &logits, gate));
    let ledger = small.take_ledger();
    // Experts 0 1 | 2 3 | 4 5 | 6 and 0 1 2 3 4 | 5 6 have five common parts.
    assert_eq!(ledger.kernels["experts_up"].launches, 5);
    assert_eq!(ledger.kernels["experts_down"].launches, 2);
    assert_eq!(ledger.kernels["experts_up"].multiply_adds, 2 * 18 * 21 * 9);
}

#[test]
fn a_layer_is_six_launches_and_no_wait() {
    let gpu = Gpu::poisoned(DeviceChoice::First).expect("a device");
    let (gate, storage) = (&gates()[4], [plain(Dtype::Bf16); 3]);
    let experts = stack(&gpu, 256, [8, 4], storage);
    let x = gpu.filled(0.5, &[1, 8]).expect("small");
    let logits = clear_logits(gate, 1, &mut Values::new(8));
    gpu.routed(&experts, &x, &route(&gpu, gate, &logits)).expect("it fits");
    let ledger = gpu.take_ledger();
    let names: Vec<&str> = ledger.kernels.keys().copied().collect();
    let want =
        ["combine_experts", "expert_tiles", "experts_down", "experts_up", "gate", "sort_choices"];
    assert_eq!((names, ledger.total().launches), (want.to_vec(), 6));
    assert_eq!(ledger.synchronisations, 0);
    // One token: x, two matrices of [4, 8] for each of 8 experts, and 8 rows.
    let (up, down) = (ledger.kernels["experts_up"], ledger.kernels["experts_down"]);
    assert_eq!(up.floor_bytes, 4 * 8 + 8 * 2 * 2 * 4 * 8 + 4 * 8 * 4);
    assert_eq!(down.floor_bytes, 4 * 8 * 4 + 8 * 2 * 4 * 8 + 4 * 8 * 8);
    assert_eq!((up.multiply_adds, down.multiply_adds), (8 * 2 * 4 * 8, 8 * 4 * 8));
}

#[test]
fn a_token_that_cannot_be_routed_spoils_no_other() {
    for gate in gates().into_iter().filter(|g| g.n_routed_experts > 1) {
        let (n, gpu) = (gate.n_routed_experts, gpu());
        let mut logits = clear_logits(&gate, 3, &mut Values::new(9));
        let x = gpu.upload(&Values::new(10).draw(3 * 21), &[3, 21]).expect("small");
        let experts = stack(&gpu, n, [21, 9], MIXED);
        let run = |routing: &GpuRouting| {
            let y = gpu.routed(&experts, &x, routing).expect("it fits");
            gpu.download(&y).expect("it runs")
        };
        let want = run(&route(&gpu, &gate, &logits));
        let softmax = gate.scoring_func == ScoringFunc::Softmax;
        for bad in [f32::NAN, f32::INFINITY].into_iter().chain(softmax.then_some(-f32::INFINITY)) {
            if bad < 0.0 {
                logits[n..2 * n].fill(bad);
            }
            logits[2 * n - 1] = bad;
            let routing = route(&gpu, &gate, &logits);
            let got = run(&routing);
            assert!(got[21..42].iter().all(|y| y.is_nan()));
            assert_same_bits(&got[..21], &want[..21]);
            assert_same_bits(&got[42..], &want[42..]);
            let error = gpu.host_routing(&routing).unwrap_err();
            let of_token = |e: &MoeError| {
                matches!(e, MoeError::Logit { token: 1, .. } | MoeError::NoScore { token: 1 })
            };
            assert!(of_token(&error), "{error}");
            // It is sent to the first experts.
            let k = gate.num_experts_per_tok;
            let chosen = gpu.read_words(routing.experts()).expect("it runs");
            assert!(chosen[k..2 * k].iter().copied().eq((0..).take(k)), "{chosen:?}");
        }
    }
}

#[test]
fn a_bad_bias_is_an_error_without_tokens() {
    let (gpu, gate) = (gpu(), &gates()[0]);
    let (logits, bias) = (gpu.filled(0.0, &[0, 1]), gpu.filled(f32::NAN, &[1]));
    let routing =
        gpu.route(&logits.expect("none"), Some(&bias.expect("small")), gate).expect("late");
    assert!(matches!(gpu.host_routing(&routing), Err(MoeError::Bias { expert: 0, .. })));
}

#[test]
fn experts_that_do_not_fit_are_errors() {
    let gpu = gpu();
    let filled = |rows, cols| {
        Weight::encode(Dtype::F32, [rows, cols], &vec![0.0_f32; rows * cols]).expect("it fits")
    };
    let refused = |gate_proj, up_proj, down_proj| {
        let weights = MlpWeights { gate_proj, up_proj, down_proj };
        gpu.expert_stack(1, |_| Ok::<_, MoeError>(weights.clone())).unwrap_err()
    };
    let error = refused(filled(2, 3), filled(2, 4), filled(3, 2));
    assert_eq!(error.to_string(), "up_proj: shape [2, 4], the config wants [2, 3]");
    let error = refused(filled(2, 3), filled(2, 3), filled(2, 3));
    assert_eq!(error.to_string(), "down_proj: shape [2, 3], the config wants [3, 2]");
    assert!(matches!(refused(filled(0, 3), filled(0, 3), filled(3, 0)), MoeError::Kernel(_)));
    assert!(gpu.expert_stack(0, |_| Err(MoeError::NoScore { token: 0 })).is_err());

    let experts = stack(&gpu, 2, [3, 2], MIXED);
    let narrow = |shape: &[usize]| gpu.filled(0.0, shape).expect("small");
    let routing = route(&gpu, &gate(2, 1, ScoringFunc::Sigmoid, TopkMethod::Greedy), &[0.0; 4]);
    for shape in [&[2, 4][..], &[3, 3], &[6]] {
        let error = gpu.routed(&experts, &narrow(shape), &routing).unwrap_err();
        assert!(matches!(error, MoeError::Kernel(_)), "{error}");
        let error = gpu.run_experts(&experts, &narrow(shape), &routing).unwrap_err();
        assert!(matches!(error, MoeError::Kernel(_)), "{error}");
    }
    let three = route(&gpu, &gate(3, 1, ScoringFunc::Sigmoid, TopkMethod::Greedy), &[0.0; 6]);
    let error = gpu.routed(&experts, &narrow(&[2, 3]), &three).unwrap_err();
    assert_eq!(error.to_string(), "routing: n_routed_experts 3, want 2, as the stack holds");
}

#[test]
fn a_plan_has_room_for_the_tiles_of_any_routing() {
    for_all(prop::collection::vec(0..30_usize, 1..9), |rows| {
        let plan = ExpertPlan::new(rows.iter().sum(), rows.len());
        let tiles: usize = rows.iter().map(|r| r.div_ceil(plan.tile.rows)).sum();
        assert!(tiles <= plan.tiles, "{tiles} tiles, {plan:?}");
    });
}
