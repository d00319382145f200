//! The suite, stamped for a GPU, and what holds for a device alone.

#![cfg(feature = "gpu")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::OnceLock;

use latent_mla::RowLayout;
use latent_mla::kernels::Reference;
use latent_mla::kernels::gpu::{DeviceChoice, Gpu};

use case::{Case, assert_follows};

mod attend;
#[path = "../case/mod.rs"]
mod case;
mod expanded;
mod formats;
mod latents;
mod pages;
mod plan;

/// The device that all tests share, full of NaN where nothing was written.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::poisoned(DeviceChoice::First).expect("a device")).clone()
}

mod suite {
    use latent_mla::kernels::Tolerance;
    latent_mla::attention_suite!(super::super::gpu(), Tolerance::F32);
}

#[track_caller]
fn assert_attend_follows(case: &Case, layout: RowLayout, heads: usize) {
    let want = case::attend(&Reference::<f64>::new(), case, layout, heads);
    assert_follows(&case::attend(&gpu(), case, layout, heads), &want);
}
