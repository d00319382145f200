//! The linear map on a device: at a square shape beside cubecl's own kernel library (feature
//! `cubek`), and at the decode shapes of V2-Lite.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use latent_bench::{SUMS, verify};
use latent_kernels::gpu::{DeviceChoice, Gpu};
use latent_kernels::linear::gpu::tile::Tile;
use latent_kernels::linear::gpu::{linear_by, plans};
use latent_kernels::suite::{self, Storage, Values, wide};
use latent_kernels::{Backend, Dtype};

/// Rows, inputs, outputs: a square, and one token through a projection of V2-Lite.
const SHAPES: [(&str, [usize; 3]); 3] =
    [("512^3", [512; 3]), ("decode, down", [1, 2816, 2048]), ("decode, up", [1, 2048, 2816])];

fn linear(c: &mut Criterion) {
    let gpu = Gpu::open(DeviceChoice::First).expect("a device");
    for (name, [rows, inputs, outputs]) in SHAPES {
        let mut group = c.benchmark_group(format!("linear {name} on {}", gpu.device_name()));
        group.throughput(Throughput::Elements((rows * inputs * outputs) as u64));
        group.sample_size(10);
        let mut values = Values::new(1);
        let x: Vec<f32> = values.draw(rows * inputs);
        let x_there = gpu.upload(&x, &[rows, inputs]).expect("x");
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::F8E4m3] {
            let block = (dtype == Dtype::F8E4m3).then_some([128, 128]);
            let w = Storage { dtype, block }.weight([outputs, inputs], &mut values);
            let w_values: Vec<f32> = w.decode();
            let w = gpu.matrix(w).expect("a weight");
            let run = || {
                let y = gpu.linear(&x_there, &w).expect("shapes that fit");
                gpu.wait().expect("the device works");
                y
            };
            let want =
                suite::linear::definition(&wide(&x), &wide(&w_values), [rows, outputs, inputs]);
            verify(name, &gpu.download(&run()).expect("y"), &want, SUMS);
            group.bench_function(format!("own/{dtype}"), |b| b.iter(|| black_box(run())));
            for tile in plans(rows) {
                let by = || {
                    let y = linear_by(&gpu, &x_there, &w, *tile).expect("shapes that fit");
                    gpu.wait().expect("the device works");
                    y
                };
                let name = format!("own/{dtype}/{}x{} {}", tile.rows, tile.outputs, shared(*tile));
                verify(&name, &gpu.download(&by()).expect("y"), &want, SUMS);
                group.bench_function(name, |b| b.iter(|| black_box(by())));
            }
            #[cfg(feature = "cubek")]
            if dtype == Dtype::F32 {
                peer::bench(&mut group, &gpu, &x, &w_values, &want, [rows, inputs, outputs]);
            }
        }
    }
}

fn shared(tile: Tile) -> &'static str {
    if tile.shared { "by 32 units" } else { "by one unit" }
}

/// cubek's matrix product, `[rows, inputs] x [inputs, outputs]`, with weights as they are stored:
/// one output's inputs side by side.
#[cfg(feature = "cubek")]
mod peer {
    use std::hint::black_box;

    use criterion::BenchmarkGroup;
    use criterion::measurement::WallTime;
    use cubecl::prelude::*;
    use cubek::matmul::definition::MatmulElems;
    use cubek::matmul::launch::launch_ref;
    use cubek::matmul::strategy::Strategy;
    use cubek::std::InputBinding;
    use latent_bench::{SUMS, verify};
    use latent_kernels::gpu::Gpu;

    pub(crate) fn bench(
        group: &mut BenchmarkGroup<'_, WallTime>,
        gpu: &Gpu,
        x: &[f32],
        w: &[f32],
        want: &[f64],
        [rows, inputs, outputs]: [usize; 3],
    ) {
        let client = gpu.client();
        let there = |values: &[f32]| client.create_from_slice(f32::as_bytes(values));
        let (x, w) = (there(x), there(w));
        let y = client.empty(4 * rows * outputs);
        let f32 = f32::elem_type_native();
        let binding = |handle: &cubecl::server::Handle, shape: [usize; 2], strides: [usize; 2]| {
            #[expect(unsafe_code, reason = "the shape of a buffer is told to the kernel")]
            // SAFETY: the buffers were made with as many elements as their shapes have.
            unsafe {
                TensorBinding::from_raw_parts(handle.clone(), strides.into(), shape.into())
            }
        };
        let run = || {
            let x = InputBinding::Normal(binding(&x, [rows, inputs], [inputs, 1]), f32);
            let w = InputBinding::Normal(binding(&w, [inputs, outputs], [1, inputs]), f32);
            let y = binding(&y, [rows, outputs], [outputs, 1]);
            let mut elements = MatmulElems::from_single_dtype(f32);
            launch_ref(&Strategy::Auto, client, x, w, y, &mut elements).expect("it fits");
            gpu.wait().expect("the device works");
        };
        run();
        let got = client.read_one(y.clone()).expect("y");
        verify("cubek", f32::from_bytes(&got), want, SUMS);
        group.bench_function("cubek/F32", |b| b.iter(|| black_box(run())));
    }
}

criterion_group!(benches, linear);
criterion_main!(benches);
