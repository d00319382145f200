//! Ablations: variants are what their words say and as large as they should be, and runs end with the same
//! results whatever interrupts them.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![expect(clippy::float_cmp, reason = "the same numbers, not near ones")]

#[path = "runs/tiny.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod tiny;

#[path = "ablation/runs.rs"]
mod runs;
#[path = "ablation/variants.rs"]
mod variants;
