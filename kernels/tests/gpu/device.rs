//! What a device allows, how its failures are reported, and what it counts.

use cubecl::prelude::*;
use latent_kernels::gpu::{Cubes, DeviceChoice, Gpu, Limits};
use latent_kernels::{Backend, Cost, Dtype, KernelError, Tolerance, Weight, assert_close};

use super::gpu;

#[test]
fn a_weight_larger_than_a_buffer_lies_in_shards() {
    let limit = gpu().limits().buffer_bytes;
    let rows = limit / (4 * 1024) + 5;
    if limit > 1 << 28 {
        return assert_limits_are_the_devices_own(limit);
    }
    let mut values = vec![0.0_f32; rows * 1024];
    for row in 0..rows {
        values[row * 1024 + row % 1024] = row as f32;
    }
    let weight = Weight::encode(Dtype::F32, [rows, 1024], &values).expect("it fits");
    let matrix = gpu().matrix(weight).expect("it fits in two");
    assert_eq!(matrix.shards().len(), 2);
    let x = gpu().upload(&[1.0; 1024], &[1, 1024]).expect("a row");
    let y = gpu().linear(&x, &matrix).and_then(|y| gpu().download(&y)).expect("it runs");
    let want: Vec<f32> = (0..rows).map(|row| row as f32).collect();
    assert_close(&y, &want, Tolerance::EXACT);
    let last = u32::try_from(rows - 1).expect("small");
    let y = gpu().gather(&matrix, &[last, 0, 1]).and_then(|y| gpu().download(&y)).expect("rows");
    assert_close(&y, &[&values[(rows - 1) * 1024..], &values[..2048]].concat(), Tolerance::EXACT);
}

/// On a device with buffers too large to fill in a test, the limit at least is one it reports.
fn assert_limits_are_the_devices_own(limit: usize) {
    assert!(matches!(gpu().buffer(limit + 1), Err(KernelError::DeviceLimit { .. })));
}

#[test]
fn an_array_larger_than_a_buffer_is_an_error() {
    let limit = gpu().limits().buffer_bytes;
    let error = gpu().empty(&[limit / 4 + 1]).unwrap_err();
    assert!(matches!(error, KernelError::DeviceLimit { .. }), "{error}");
    let error = gpu().empty(&[usize::MAX, 2]).unwrap_err();
    assert!(matches!(error, KernelError::Shape { .. }), "{error}");
}

#[test]
fn a_device_that_is_kept_small_refuses_larger_buffers() {
    let small = Gpu::poisoned_within(DeviceChoice::First, 64).expect("a device");
    assert!(small.empty(&[16]).is_ok());
    assert!(matches!(small.empty(&[17]), Err(KernelError::DeviceLimit { .. })));
    let weight = Weight::encode(Dtype::F32, [5, 4], &[1.0_f32; 20]).expect("it fits");
    assert_eq!(small.matrix(weight).expect("it fits in two").shards().len(), 2);
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let error = Gpu::open(DeviceChoice::Number(9999)).unwrap_err();
    assert!(error.to_string().starts_with("no device: want device 9999, found"), "{error}");
}

#[cube(launch)]
fn refused(y: &mut [f32], #[comptime] units: usize) {
    // More shared memory than any device has.
    let mut s = Shared::<[f32]>::new_slice(units);
    s[0] = 1.0;
    y[0] = s[0];
}

#[test]
fn a_failed_kernel_is_named_at_the_next_read() {
    let gpu = Gpu::open(DeviceChoice::First).expect("a device");
    let y = gpu.empty(&[1]).expect("small");
    let cubes = Cubes { cubes: 1, units: 1, shared_bytes: 0 };
    gpu.launch("refused", cubes, Cost::default(), |client, count, dim| {
        refused::launch(client, count, dim, y.arg(), 1 << 28);
    })
    .expect("queued");
    let error = gpu.download(&y).unwrap_err();
    assert!(error.to_string().starts_with("refused: the device failed: "), "{error}");
    let sum = gpu.upload(&[1.0], &[1]).and_then(|x| gpu.add(&x, &x));
    let after = sum.and_then(|y| gpu.download(&y)).expect("other work goes on");
    assert_close(&after, &[2.0], Tolerance::EXACT);
}

#[test]
fn what_does_not_fit_a_cube_is_refused_before_the_launch() {
    let limits = gpu().limits();
    let cubes = Cubes { cubes: 1, units: limits.units as usize + 1, shared_bytes: 0 };
    let none = |_: &_, _: _, _: _| panic!("launched");
    let error = gpu().launch("k", cubes, Cost::default(), none).unwrap_err();
    assert!(error.to_string().starts_with("k: units of a cube: "), "{error}");
    let cubes = Cubes { cubes: 1, units: 1, shared_bytes: limits.shared_bytes + 1 };
    let error = gpu().launch("k", cubes, Cost::default(), none).unwrap_err();
    assert!(error.to_string().starts_with("k: bytes of shared memory: "), "{error}");
}

#[test]
fn the_ledger_counts_launches_bytes_and_operations() {
    let gpu = Gpu::open(DeviceChoice::First).expect("a device");
    let w = Weight::encode(Dtype::Bf16, [6, 8], &[1.0_f32; 48]).expect("it fits");
    let (x, w) = (gpu.upload(&[1.0; 16], &[2, 8]).unwrap(), gpu.matrix(w).unwrap());
    let y = gpu.linear(&x, &w).unwrap();
    gpu.download(&gpu.add(&y, &y).unwrap()).unwrap();
    let ledger = gpu.take_ledger();
    let linear = ledger.kernels["linear"];
    assert_eq!((linear.launches, linear.multiply_adds), (1, 2 * 6 * 8));
    assert_eq!(linear.floor_bytes, 4 * 16 + 2 * 48 + 4 * 12);
    assert_eq!(ledger.kernels["add"].floor_bytes, 3 * 4 * 12);
    assert_eq!((ledger.total().launches, ledger.synchronisations), (2, 1));
    assert_eq!(gpu.take_ledger().total().launches, 0);
}

#[test]
fn a_device_that_binds_too_few_buffers_is_refused() {
    let limits = Limits { bindings: 8, ..gpu().limits() };
    limits.prove_bindings().expect("as many as WebGPU promises");
    let error = Limits { bindings: 7, ..limits }.prove_bindings().unwrap_err();
    assert_eq!(error.to_string(), "buffers of a kernel: 8, this device allows 7");
}
