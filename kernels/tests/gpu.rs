//! The suite, stamped for a GPU, and what holds for a device alone.

#![cfg(feature = "gpu")]

use std::sync::OnceLock;

use cubecl::prelude::*;
use latent_kernels::gpu::{Cubes, DeviceChoice, Gpu, GpuMatrix, Limits};
use latent_kernels::linear::gpu::{cost, linear_by, plans};
use latent_kernels::suite::{Storage, Values, assert_same_bits};
use latent_kernels::{
    Backend, Cost, Dtype, KernelError, PairLayout, Reference, RopeTable, Tolerance, Weight,
    assert_close,
};

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

/// More rows than the 65,535 cubes of an axis of a grid.
const MANY: usize = 70_000;

#[test]
fn many_rows_are_laid_over_a_grid_of_two_axes() {
    let (gpu, cpu) = (gpu(), Reference::<f32>::new());
    let mut values = Values::new(3);
    let x: Vec<f32> = values.draw(MANY * 8);
    let w = Weight::encode(Dtype::Bf16, [3, 8], &values.draw::<f32>(24)).expect("it fits");
    let gain: Vec<f32> = values.draw(8);
    let ids: Vec<u32> = [0, 1, 2].into_iter().cycle().take(MANY).collect();
    let table = RopeTable::new(4, 1e4, None, PairLayout::Interleaved).expect("even");
    let positions: Vec<usize> = (0..MANY).collect();
    let chosen: Vec<usize> = (0..MANY).rev().collect();
    fn of<B: Backend<Scalar = f32>>(
        b: &B,
        run: impl FnOnce(&B, B::Tensor) -> Result<B::Tensor, KernelError>,
        x: &[f32],
    ) -> Vec<f32> {
        b.upload(x, &[MANY, 8]).and_then(|x| run(b, x)).and_then(|y| b.download(&y)).expect("fits")
    }
    macro_rules! agree {
        ($b:ident, $x:ident, $y:expr) => {
            let got = of(&gpu, |$b, $x| $y, &x);
            assert_close(&got, &of(&cpu, |$b, $x| $y, &x), Tolerance::F32);
        };
    }
    agree!(b, x, b.linear(&x, &b.matrix(w.clone())?));
    agree!(b, x, b.rms_norm(&x, &b.upload(&gain, &[8])?, 1e-6));
    agree!(b, x, b.softmax(&x));
    agree!(b, x, b.swiglu(&x, &x));
    agree!(b, x, b.add(&x, &x));
    agree!(b, _x, b.gather(&b.matrix(w.clone())?, &ids));
    agree!(b, x, b.rope(&b.reshape(x, &[MANY, 1, 8])?, &table, &positions));
    agree!(b, x, b.select_rows(&x, &chosen));
    agree!(b, x, b.split_columns(&x, 3).and_then(|(a, c)| b.join_columns(&c, &a)));
}

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
fn every_plan_of_linear_gives_the_same_bits() {
    let gpu = gpu();
    let mut values = Values::new(11);
    for (outputs, inputs) in [(1, 1), (7, 65), (33, 130), (64, 512)] {
        let stored = [
            Storage { dtype: Dtype::Bf16, block: None },
            Storage { dtype: Dtype::F8E4m3, block: Some([16, 16]) },
        ];
        for w in stored.map(|s| s.weight([outputs, inputs], &mut values)) {
            let w = gpu.matrix(w).expect("it fits");
            for rows in [1, 3, 9, 17] {
                let x = gpu.upload(&values.draw(rows * inputs), &[rows, inputs]).expect("x");
                let by = |tile| {
                    let y = linear_by(&gpu, &x, &w, tile).expect("it fits");
                    gpu.download(&y).expect("y")
                };
                let want = by(plans(1)[0]);
                for tile in [1, 2, 4, 8].into_iter().flat_map(plans) {
                    assert_same_bits(&by(*tile), &want);
                }
            }
        }
    }
}

#[test]
fn every_plan_of_linear_writes_the_rows_of_each_shard() {
    let (gpu, small) = (gpu(), Gpu::poisoned_within(DeviceChoice::First, 4096).unwrap());
    let mut values = Values::new(13);
    for storage in [
        Storage { dtype: Dtype::Bf16, block: None },
        Storage { dtype: Dtype::F8E4m3, block: Some([16, 16]) },
    ] {
        let w = storage.weight([37, 130], &mut values);
        let [whole, shards] = [&gpu, &small].map(|g| g.matrix(w.clone()).unwrap());
        assert!(shards.shards().len() > 1);
        let x: Vec<f32> = values.draw(5 * 130);
        let by = |g: &Gpu, w: &GpuMatrix, tile| {
            let y = g.upload(&x, &[5, 130]).and_then(|x| linear_by(g, &x, w, tile));
            g.download(&y.unwrap()).unwrap()
        };
        for tile in [1, 2, 4, 8].into_iter().flat_map(plans) {
            assert_same_bits(&by(&small, &shards, *tile), &by(&gpu, &whole, *tile));
        }
    }
}

#[test]
fn trying_plans_changes_no_result_and_is_in_no_ledger() {
    let gpu = Gpu::poisoned(DeviceChoice::First).expect("a device");
    let mut values = Values::new(12);
    let w = Weight::encode(Dtype::Bf16, [512, 1024], &values.draw::<f32>(512 * 1024));
    let w = gpu.matrix(w.expect("it fits")).expect("it fits");
    let x = gpu.upload(&values.draw(9 * 1024), &[9, 1024]).expect("x");
    let _ = gpu.take_ledger();
    let [first, second] = [(); 2].map(|()| gpu.download(&gpu.linear(&x, &w).unwrap()).unwrap());
    assert_eq!(gpu.take_ledger().kernels["linear"].launches, 2);
    assert_same_bits(&first, &second);
    let by_one_plan = linear_by(&gpu, &x, &w, plans(1)[0]).unwrap();
    assert_same_bits(&first, &gpu.download(&by_one_plan).unwrap());
}

#[test]
fn plans_fit_the_smallest_device_that_webgpu_allows() {
    let limits = Limits {
        units: 256,
        cubes: [65_535; 3],
        shared_bytes: 16 << 10,
        buffer_bytes: 128 << 20,
        bindings: 8,
    };
    for tile in (0..20).flat_map(plans) {
        limits.prove_cube("linear", tile.units(), tile.shared_bytes()).unwrap();
    }
}

#[test]
fn more_rows_of_a_tile_read_weights_fewer_times() {
    let [thin, wide] = [plans(1)[0], plans(512)[0]].map(|tile| cost(tile, 512, 64, 128, 256));
    assert_eq!(thin.floor_bytes, wide.floor_bytes);
    assert_eq!(thin.floor_bytes, 4 * 512 * 128 + 64 * 256 + 4 * 512 * 64);
    let weights = |cost: Cost| cost.moved_bytes - (4 * 512 * 128 * 16 + 4 * 512 * 64);
    assert_eq!(weights(thin), 512 * 64 * 256);
    assert_eq!(weights(wide), 512 / 8 * 64 * 256);
}
