//! The suite, stamped for a GPU, and what holds for a device alone.

#![cfg(feature = "gpu")]

use std::sync::OnceLock;

use latent_moe::kernels::gpu::{DeviceChoice, Gpu};

/// The device that all tests share, full of NaN where nothing was written.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::poisoned(DeviceChoice::First).expect("a device")).clone()
}

mod suite {
    use latent_moe::kernels::Tolerance;
    latent_moe::experts_suite!(super::super::gpu(), Tolerance::F32);
}
