//! The suite, stamped for a GPU, and what holds for a device alone.

#![cfg(feature = "gpu")]

use std::sync::OnceLock;

use latent_kernels::gpu::{DeviceChoice, Gpu};
use latent_kernels::suite::assert_same_bits;
use latent_kernels::{Backend, Dtype, Weight};

mod device;
mod linear;
mod reference;

/// The device that all tests share, full of NaN where nothing was written.
fn gpu() -> Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(|| Gpu::poisoned(DeviceChoice::First).expect("a device")).clone()
}

mod suite {
    use latent_kernels::Tolerance;
    latent_kernels::backend_suite!(super::super::gpu(), Tolerance::F32);
}

/// The elements of `values` in the order of their bytes, unpacked on the device.
fn unpacked(dtype: Dtype, bytes: Vec<u8>) -> Vec<f32> {
    let rows = bytes.len() / dtype.bytes() / 4;
    let weight = Weight::new(dtype, [rows, 4], bytes.into(), None).expect("four columns");
    let matrix = gpu().matrix(weight).expect("it fits");
    let ids: Vec<u32> = (0..).take(rows).collect();
    gpu().gather(&matrix, &ids).and_then(|y| gpu().download(&y)).expect("rows")
}

/// Holds every value of a dtype to its decoding on the host, bit for bit.
fn assert_every_value_is_unpacked(dtype: Dtype, bytes: Vec<u8>) {
    let mut want = vec![0.0_f32; bytes.len() / dtype.bytes()];
    dtype.decode(&bytes, &mut want);
    assert_same_bits(&unpacked(dtype, bytes), &want);
}

#[test]
fn every_value_of_16_bits_is_unpacked_exactly() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    assert_every_value_is_unpacked(Dtype::Bf16, all.clone());
    assert_every_value_is_unpacked(Dtype::F16, all);
}

#[test]
fn every_value_of_8_bits_is_unpacked_exactly() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    assert_every_value_is_unpacked(Dtype::F8E4m3, all.clone());
    assert_every_value_is_unpacked(Dtype::I8, all);
}
