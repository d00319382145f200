//! Results as an ablation could have left them.

use std::collections::BTreeMap;

use latent_train::ablation::{BalanceResult, Point, RoutingByKind, RoutingResult, RunResult};
use serde_json::json;

/// Some kinds of text.
const KINDS: [&str; 6] = ["code", "drama", "letters", "poetry", "prose", "science"];

/// A number between -1 and 1 that looks drawn.
pub(super) fn noise(at: u64) -> f64 {
    let mixed = (at ^ 0x9e37_79b9).wrapping_mul(0xbf58_476d_1ce4_e5b9).rotate_left(29);
    (mixed.wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f64 / (1_u64 << 23) as f64 - 1.0
}

/// A run of a variant: the `place`-th of an ablation, with so many experts in two layers.
pub(super) fn run(name: &str, place: usize, seed: u64, experts: usize) -> RunResult {
    let skill = 0.03 * place as f64 - 0.04;
    let level = |tokens: u64| 2.2 + skill + 3.2 * (-(tokens as f64) / 20_000.0).exp();
    let noise = |at: u64, size: f64| size * noise(at * 1009 + seed * 7919 + place as u64 * 104_729);
    let drift = noise(1, 0.012);
    let step = 768;
    let training =
        (1..=200).map(|i| (i * step, level(i * step) + drift + noise(i, 0.09))).collect();
    let validation =
        (1..=4).map(|i| (50 * i * step, level(50 * i * step) + 0.1 + drift + noise(i, 0.006)));
    let loss = level(200 * step) + 0.1 + drift;
    let kinds = KINDS.into_iter().enumerate();
    let kinds = kinds.map(|(i, kind)| {
        (kind.to_owned(), (loss - 0.4 + 0.15 * i as f64 + noise(i as u64, 0.02), 4000))
    });
    let size = 880_000 + 400 * place as u64;
    RunResult {
        variant: name.to_owned(),
        seed,
        point: Point::default(),
        total_parameters: size,
        active_parameters: size - 9000 * experts as u64,
        cache_bytes_per_token: [240, 768, 384, 192, 1536, 96][place % 6],
        steps: 300,
        tokens: 200 * step,
        loss,
        bits_per_byte: Some(loss / std::f64::consts::LN_2),
        kinds: kinds.collect(),
        training,
        validation: validation.collect(),
        balance: (experts > 0).then(|| balance(experts, step, &noise)),
        routing: (experts > 0).then(|| routing(experts)),
        tokens_per_second: 5200.0 - 310.0 * place as f64 + noise(3, 120.0),
        threads: 1,
        settings: json!({
            "data": { "batch_size": 8, "corpus": format!("{seed}"), "seq_len": 64, "tokenizer": "bytes" },
            "model": { "config": { "hidden_size": 64, "attention": name, "n_routed_experts": experts } },
            "optimizer": { "kind": "adamw", "learning_rate": 3e-3 },
            "run": { "form": "expanded", "seed": seed },
            "schedule": { "kind": "cosine", "total": 300, "warmup": 20 },
            "tokens": format!("{seed:x}"),
        }),
    }
}

fn balance(experts: usize, step: u64, noise: &impl Fn(u64, f64) -> f64) -> BalanceResult {
    let early = |i: u64| 1.6 * (-(i as f64) / 40.0).exp();
    let vio = (1..=200).map(|i| (i * step, 0.4 + early(i) + noise(i, 0.15))).collect();
    let shares = |i: u64, layer: u64| {
        let weight = |e: u64| (1.0 + early(5 * i) * noise(e + 31 * layer, 0.95)).max(0.01);
        let all: f64 = (0..experts as u64).map(weight).sum();
        (0..experts as u64).map(|e| weight(e) / all).collect()
    };
    let loads = |layer: usize| (1..=40).map(|i| (5 * i * step, shares(i, layer as u64))).collect();
    BalanceResult {
        max_vio_of_steps: vio,
        max_vio: 0.31 + noise(5, 0.04),
        loads: [1, 2].map(|layer| (layer, loads(layer))).into(),
    }
}

fn routing(experts: usize) -> RoutingResult {
    let row = |kind: usize, layer: usize| {
        let favour = |e: usize| if (e + layer) % KINDS.len() == kind { 900 } else { 0 };
        (0..experts).map(|e| 300 + favour(e) - 40 * (e as u64 % 5)).collect::<Vec<u64>>()
    };
    let rows = |layer| (0..KINDS.len()).map(|kind| row(kind, layer)).collect();
    let layers = BTreeMap::from([1, 2].map(|layer| (layer, rows(layer))));
    RoutingResult {
        trained: RoutingByKind { kinds: KINDS.map(str::to_owned).to_vec(), layers },
        mutual_information: 0.234,
        untrained: 0.041,
        shuffled: 0.001,
    }
}

/// An ablation of so many variants and seeds, some of them without experts.
pub(super) fn ablation(variants: usize, seeds: u64) -> Vec<RunResult> {
    let name = |place: usize| match place {
        0 => "mla".to_owned(),
        1 => "mha".to_owned(),
        2 => "gqa".to_owned(),
        3 => "mqa".to_owned(),
        4 => "dense, as many parameters".to_owned(),
        5 => "dense, as many for a token".to_owned(),
        _ => format!("mla:{place}-moe-fine-bias:0.001"),
    };
    let experts = |place: usize| if place == 4 || place == 5 { 0 } else { 7 + place };
    let one = |seed: u64, place: usize| run(&name(place), place, seed, experts(place));
    (0..seeds).flat_map(|seed| (0..variants).map(move |place| one(seed, place))).collect()
}
