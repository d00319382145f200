//! The plans of the linear map: the same bits by each, and what they cost.

use latent_kernels::gpu::{DeviceChoice, Gpu, GpuMatrix, Limits};
use latent_kernels::linear::gpu::{cost, linear_by, plans};
use latent_kernels::suite::{Storage, Values, assert_same_bits};
use latent_kernels::{Backend, Cost, Dtype, Weight};

use super::gpu;

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
