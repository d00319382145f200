//! How attention is laid over cubes, and what that costs.

use latent_mla::RowFormat;
use latent_mla::gpu::AttendPlan;
use latent_mla::kernels::Backend;
use latent_mla::kernels::gpu::{DeviceChoice, Gpu, Limits};

use super::case::{Case, attend, grouped, latent};

const LIMITS: Limits = Limits {
    units: 1024,
    cubes: [65535; 3],
    shared_bytes: 32768,
    buffer_bytes: 1 << 27,
    bindings: 8,
};

#[test]
fn plans_fit_every_layout_and_device() {
    let small = Limits { shared_bytes: 16384, units: 256, ..LIMITS };
    for limits in [LIMITS, small] {
        for heads in [1, 3, 16, 128] {
            for (key_dim, value_dim) in [(576, 512), (192, 128), (6, 7), (20_000, 5000), (1, 0)] {
                for kv_heads in [1, heads] {
                    let layout = grouped(kv_heads, key_dim, value_dim);
                    let one = AttendPlan::new(layout, heads, limits);
                    for tokens in [0, 1, 3, 16, 5000] {
                        let plan = one.with_tokens(tokens, limits);
                        assert!(plan.shared_bytes() <= limits.shared_bytes, "{plan:?}");
                        assert!(plan.units <= 128 && plan.queries() <= 16, "{plan:?}");
                        assert!(plan.columns * plan.units >= value_dim, "{plan:?}");
                        assert_eq!(plan.lanes() * plan.vectors(), plan.queries());
                        // What orders the sums is the same in every batch.
                        assert_eq!((plan.units, plan.heads), (one.units, one.heads));
                    }
                }
            }
        }
    }
}

#[test]
fn the_shared_memory_of_a_plan_is_what_its_kernel_declares() {
    let plan = AttendPlan::new(latent(512, 64), 128, LIMITS);
    // Keys with one more column, queries, weights, bases, and four bounds.
    let words = 128 * 17 + 16 * 16 + 128 * 16 + 128 + 4;
    assert_eq!(plan.shared_bytes(), 4 * words);
}

#[test]
fn heads_of_a_group_share_what_a_cube_reads() {
    let layout = latent(512, 64);
    let (heads, keys) = (128, 300);
    let gpu = Gpu::open(DeviceChoice::First).unwrap();
    let case = Case::new(&[(1, keys)], 576);
    attend(&gpu, &case, layout, heads);
    let cost = gpu.take_ledger().kernels["attend"];
    let block = AttendPlan::new(layout, heads, gpu.limits()).heads;
    assert_eq!(block, 16);
    let (q, partial) = (4 * heads * 576, 4 * heads * 2 * 514);
    assert_eq!(cost.floor_bytes, (q + 4 * keys * 576 + partial) as u64);
    let per_head = heads * 4 * keys * (576 + 512);
    // Three tiles of 128 keys, and the queries once for each.
    let moved = per_head / block + 3 * q + partial;
    assert_eq!(cost.moved_bytes, moved as u64);
    assert!(cost.moved_bytes * 4 < per_head as u64);
    assert_eq!(cost.multiply_adds, (heads * keys * (576 + 512)) as u64);
    // Of FP8 rows, 656 bytes are read as keys and 528 as values.
    let case = Case { format: RowFormat::Fp8 { latent: 512 }, ..case };
    attend(&gpu, &case, layout, heads);
    let cost = gpu.take_ledger().kernels["attend"];
    assert_eq!(cost.floor_bytes, (q + keys * 656 + partial) as u64);
    let per_head = heads * keys * (656 + 528);
    assert_eq!(cost.moved_bytes, (per_head / block + 3 * q + partial) as u64);
}
