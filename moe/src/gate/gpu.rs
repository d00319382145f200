//! [`gate`](crate::gate) on a device: a cube routes a token.
//!
//! Experts are not sorted. An expert is chosen when fewer than `k` others come before it, which
//! every unit counts for its own experts in shared memory.

#![expect(clippy::cast_possible_truncation, reason = "devices count in 32 bits")]

use cubecl::prelude::*;
use latent_kernels::gpu::{Cubes, Gpu, GpuTensor, cube_max, cube_sum};
use latent_kernels::{Cost, Scalar};

use crate::dispatch::gpu::sort::sort;
use crate::gpu::GpuRouting;
use crate::{GateConfig, MoeError, ScoringFunc, TopkMethod};

mod ranking;
mod scoring;

use ranking::{count_before, sum_of_best};
use scoring::{score, state};

/// How the experts of one token are laid over the units of a cube.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GatePlan {
    /// The units, a power of two; each serves every `units`-th expert.
    pub units: usize,
    /// The experts that shared memory has room for.
    pub capacity: usize,
}

impl GatePlan {
    /// The plan for `experts` experts.
    ///
    /// ```
    /// use latent_moe::gpu::GatePlan;
    /// assert_eq!(GatePlan::new(160), GatePlan { units: 256, capacity: 256 });
    /// assert_eq!(GatePlan::new(1024), GatePlan { units: 256, capacity: 1024 });
    /// assert!(GatePlan::new(1024).shared_bytes() <= 32 << 10);
    /// ```
    #[must_use]
    pub fn new(experts: usize) -> Self {
        let capacity = experts.next_power_of_two().max(32);
        Self { units: capacity.min(256), capacity }
    }

    /// The bytes of shared memory: five arrays of experts, and three reductions.
    #[must_use]
    pub fn shared_bytes(self) -> usize {
        4 * (5 * self.capacity + 3 * self.units)
    }
}

/// Routes rows of logits whose shapes were proved by [`check`](super::check).
pub(crate) fn route(
    gpu: &Gpu,
    logits: &GpuTensor,
    bias: Option<&GpuTensor>,
    gate: &GateConfig,
) -> Result<GpuRouting, MoeError> {
    let (n, k) = (gate.n_routed_experts, gate.num_experts_per_tok);
    let tokens = logits.elements() / n;
    let experts = gpu.buffer(4 * tokens * k)?;
    let weights = gpu.empty(&[tokens, k])?;
    let added = match bias {
        Some(bias) => bias.buffer().clone(),
        // Zeros change nothing.
        None => gpu.upload_words(&vec![0; n])?,
    };
    let (n_group, topk_group, best_of) = match gate.topk_method {
        TopkMethod::Greedy => (1, 1, 1),
        TopkMethod::GroupLimitedGreedy { n_group, topk_group } => (n_group, topk_group, 1),
        TopkMethod::NoauxTc { n_group, topk_group } => (n_group, topk_group, 2),
    };
    let plan = GatePlan::new(n);
    let cubes = Cubes { cubes: tokens, units: plan.units, shared_bytes: plan.shared_bytes() };
    gpu.launch("gate", cubes, cost(tokens, n, k), |client, count, dim| {
        gate_kernel::launch(
            client,
            count,
            dim,
            logits.arg(),
            added.arg(4),
            experts.arg(4),
            weights.arg(),
            tokens,
            n,
            k,
            n_group,
            topk_group,
            best_of,
            u32::from(gate.norm_topk_prob),
            <f32 as Scalar>::from_f64(gate.routed_scaling_factor),
            f32::NEG_INFINITY,
            f32::NAN,
            gate.scoring_func,
            plan,
        );
    })?;
    let order = sort(gpu, &experts, tokens * k, n)?;
    Ok(GpuRouting {
        n_routed_experts: n,
        num_experts_per_tok: k,
        scoring_func: gate.scoring_func,
        logits: logits.clone(),
        bias: bias.cloned(),
        experts,
        weights,
        order,
    })
}

/// Logits and bias are read once to look for what cannot be scored, and once to be scored.
fn cost(tokens: usize, n: usize, k: usize) -> Cost {
    let (logits, chosen) = (4 * tokens * n, 8 * tokens * k);
    Cost {
        floor_bytes: (logits + 4 * n + chosen) as u64,
        moved_bytes: (4 * logits + chosen) as u64,
        ..Cost::default()
    }
}

#[cube(launch)]
fn gate_kernel(
    logits: &[f32],      // [token, expert]
    bias: &[f32],        // [expert]
    experts: &mut [u32], // [token, k]
    weights: &mut [f32], // [token, k]
    tokens: usize,
    n: usize,
    k: usize,
    n_group: usize,
    topk_group: usize,
    best_of: usize,
    normalised: u32,
    scale: f32,
    closed: f32, // -∞, which no choice of an open group is
    nan: f32,
    #[comptime] scoring_func: ScoringFunc,
    #[comptime] plan: GatePlan,
) {
    let mut scores = Shared::<[f32]>::new_slice(plan.capacity);
    let mut choice = Shared::<[f32]>::new_slice(plan.capacity);
    let mut groups = Shared::<[f32]>::new_slice(plan.capacity);
    let mut ranked = Shared::<[u32]>::new_slice(plan.capacity); // [rank]
    let mut chosen = Shared::<[u32]>::new_slice(plan.capacity); // ascending
    let unit = UNIT_POS as usize;
    // Cubes behind the last token do that token once more.
    let token = usize::min(CUBE_POS, tokens - 1);

    let (mut max, mut worst) = (f32::min_value(), f32::new(0.0));
    let mut e = unit;
    while e < n {
        let logit = logits[token * n + e];
        max = select(logit > max, logit, max);
        let state = state(logit, bias[e]);
        worst = select(state > worst, state, worst);
        e += plan.units;
    }
    let max = cube_max(max, plan.units);
    let worst = cube_max(worst, plan.units);
    let empty = comptime!(scoring_func == ScoringFunc::Softmax) && worst < 1.0;
    let fault = worst > 1.0 || empty;

    let mut sum = f32::new(0.0);
    let mut e = unit;
    while e < n {
        scores[e] = score(logits[token * n + e], max, scoring_func);
        sum += scores[e];
        e += plan.units;
    }
    if comptime!(scoring_func == ScoringFunc::Softmax) {
        let sum = cube_sum(sum, plan.units);
        let mut e = unit;
        while e < n {
            scores[e] /= sum;
            e += plan.units;
        }
    }
    // A token at fault has equal choices, none of them NaN: its experts exist.
    let mut e = unit;
    while e < n {
        choice[e] = select(fault, f32::new(0.0), scores[e] + bias[e]);
        e += plan.units;
    }
    sync_cube();

    let per_group = n / n_group;
    let mut g = unit;
    while g < n_group {
        groups[g] = sum_of_best(&choice, g * per_group, per_group, best_of);
        g += plan.units;
    }
    sync_cube();
    let mut e = unit;
    while e < n {
        let open = count_before(&groups, n_group, e / per_group) < topk_group;
        choice[e] = select(open, choice[e], closed);
        e += plan.units;
    }
    sync_cube();

    let mut e = unit;
    while e < n {
        let rank = count_before(&choice, n, e);
        if rank < k {
            ranked[rank] = e as u32;
        }
        e += plan.units;
    }
    sync_cube();
    let mut i = unit;
    while i < k {
        let mut below = 0usize;
        for j in 0..k {
            below += select(ranked[j] < ranked[i], 1usize, 0usize);
        }
        chosen[below] = ranked[i];
        i += plan.units;
    }
    sync_cube();

    let mut i = unit;
    while i < k {
        let mut sum = f32::new(0.0);
        for j in 0..k {
            sum += scores[chosen[j] as usize];
        }
        let divisor = select(normalised == 1, sum + 1e-20, f32::new(1.0));
        let weight = scores[chosen[i] as usize] / divisor * scale;
        experts[token * k + i] = chosen[i];
        weights[token * k + i] = select(fault, nan, weight);
        i += plan.units;
    }
}
