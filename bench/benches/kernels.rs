//! The shared primitives on the reference and on the fast backend, at a decode and a prefill shape; and what an
//! operation pays for its threads.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use latent_bench::{SUMS, verify};
use latent_kernels::cpu::{Cpu, Pool};
use latent_kernels::suite::{self, Storage, Values, wide};
use latent_kernels::{Backend, Dtype, PairLayout, Reference, RopeTable, Tolerance};

/// Tokens of a decode step of one sequence, and of a short prompt.
const TOKENS: [(&str, usize); 2] = [("decode", 1), ("prefill", 32)];

fn plain(dtype: Dtype) -> Storage {
    Storage { dtype, block: None }
}

fn linear(c: &mut Criterion) {
    linear_on(c, "reference", &Reference::<f32>::new());
    linear_on(c, "cpu", &Cpu::new());
}

fn linear_on<B: Backend<Scalar = f32>>(c: &mut Criterion, backend: &str, cpu: &B) {
    let [out, width] = [512, 1024];
    let fp8 = Storage { dtype: Dtype::F8E4m3, block: Some([128, 128]) };
    let mut group = c.benchmark_group(format!("linear [512, 1024] on {backend}"));
    for storage in [plain(Dtype::F32), plain(Dtype::Bf16), plain(Dtype::F16), fp8] {
        for (phase, tokens) in TOKENS {
            let mut values = Values::new(1);
            let x: Vec<f32> = values.draw(tokens * width);
            let w = storage.weight([out, width], &mut values);
            let w_values = wide(&w.decode::<f32>());
            let bytes = w.stored_bytes() as u64;
            let w = cpu.matrix(w).expect("a weight");
            let x_there = cpu.upload(&x, &[tokens, width]).expect("x");
            let run = || cpu.linear(&x_there, &w).expect("shapes that fit");

            let name = format!("{phase}/{}", storage.dtype);
            let want = suite::linear::definition(&wide(&x), &w_values, [tokens, out, width]);
            verify(&name, &cpu.download(&run()).expect("y"), &want, SUMS);
            group.throughput(Throughput::Bytes(bytes));
            group.bench_function(name, |b| b.iter(|| black_box(run())));
        }
    }
}

fn rms_norm(c: &mut Criterion) {
    let (cpu, width) = (Reference::<f32>::new(), 7168);
    let mut group = c.benchmark_group("rms_norm [token, 7168]");
    for (phase, tokens) in TOKENS {
        let mut values = Values::new(2);
        let (x, gain): (Vec<f32>, Vec<f32>) = (values.draw(tokens * width), values.draw(width));
        let x_there = cpu.upload(&x, &[tokens, width]).expect("x");
        let gain_there = cpu.upload(&gain, &[width]).expect("gain");
        let run = || cpu.rms_norm(&x_there, &gain_there, 1e-6).expect("shapes that fit");

        let want = suite::rms_norm::definition(&wide(&x), &wide(&gain), 1e-6);
        verify(phase, &cpu.download(&run()).expect("y"), &want, Tolerance::F32);
        group.throughput(Throughput::Elements((tokens * width) as u64));
        group.bench_function(phase, |b| b.iter(|| black_box(run())));
    }
}

fn rope(c: &mut Criterion) {
    let (cpu, [heads, dim]) = (Reference::<f32>::new(), [128, 192]);
    let table = RopeTable::new(64, 10_000.0, None, PairLayout::Interleaved).expect("settings");
    let mut group = c.benchmark_group("rope [token, 128, 192]");
    for (phase, tokens) in TOKENS {
        let x: Vec<f32> = Values::new(3).draw(tokens * heads * dim);
        let positions: Vec<usize> = (1000..1000 + tokens).collect();
        let x_there = cpu.upload(&x, &[tokens, heads, dim]).expect("x");
        let run = || cpu.rope(&x_there, &table, &positions).expect("shapes that fit");

        let want = suite::rope::definition(&wide(&x), [heads, dim], &table, &positions);
        verify(phase, &cpu.download(&run()).expect("y"), &want, Tolerance::F32);
        group.throughput(Throughput::Elements((tokens * heads * table.dim()) as u64));
        group.bench_function(phase, |b| b.iter(|| black_box(run())));
    }
}

/// A task of some microseconds for each core: what it takes longer than one of them is the fork and the join.
fn pool(c: &mut Criterion) {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let pool = Pool::new(threads);
    let mut group = c.benchmark_group(format!("pool of {threads}"));
    for us in [0, 5, 20] {
        let done = AtomicUsize::new(0);
        let run = || {
            pool.run(threads, &|_| {
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_micros(us) {}
                done.fetch_add(1, Ordering::Relaxed);
            });
        };
        run();
        assert_eq!(done.load(Ordering::Relaxed), threads, "not timed");
        group.bench_function(format!("a task of {us} us each"), |b| b.iter(run));
    }
}

criterion_group!(benches, linear, rms_norm, rope, pool);
criterion_main!(benches);
