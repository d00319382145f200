//! Products in 8 bits: their definition, bit for bit, and how far they are from the reference.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use latent_kernels::cpu::{Cpu, CpuMatrix, Int8Weight, Isa};
use latent_kernels::suite::{Storage, Values, assert_same_bits};
use latent_kernels::{Backend, ByteOwner, Bytes, Dtype, Matrix, Weight, max_difference};

mod fastest {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::stamp! { latent_kernels::suite, Cpu::new().int8(), Tolerance::F32;
        linear: a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit, wrong_shapes_are_errors;
        gather: a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit,
            an_id_out_of_range_is_an_error;
    }
}

/// The columns that share a scale.
const BLOCK: usize = 64;

/// Every set that this processor has, on one thread and on three.
fn backends() -> Vec<Cpu> {
    let sets = Isa::detected().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]);
    sets.map(|(isa, threads)| Cpu::with(isa, threads).expect("detected").int8()).collect()
}

/// Blocks of a row as whole numbers and steps, by the formula.
fn round(row: &[f32]) -> Vec<(Vec<f32>, f32)> {
    let block = |values: &[f32]| {
        if !values.iter().all(|v| v.is_finite()) {
            return (vec![0.0; values.len()], f32::NAN);
        }
        let top = values.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        if top < 1e-30 {
            return (vec![0.0; values.len()], 0.0);
        }
        let number = |v: &f32| (v * (127.0 / top)).round_ties_even();
        (values.iter().map(number).collect(), top / 127.0)
    };
    row.chunks(BLOCK).map(block).collect()
}

/// Exact sums of a block, scaled and added from left to right.
fn definition(x: &[f32], w: &[f32], width: usize) -> Vec<f32> {
    let w: Vec<_> = w.chunks(width).map(round).collect();
    let product = |x: &[(Vec<f32>, f32)], w: &[(Vec<f32>, f32)]| {
        x.iter().zip(w).fold(0.0_f32, |sum, ((x, scale_x), (w, scale_w))| {
            // Below 2^24: exact.
            let dot: f32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
            (dot * scale_x).mul_add(*scale_w, sum)
        })
    };
    x.chunks(width)
        .map(round)
        .flat_map(|x| w.iter().map(|w| product(&x, w)).collect::<Vec<_>>())
        .collect()
}

fn linear(cpu: &Cpu, x: &[f32], width: usize, w: &Weight) -> Vec<f32> {
    let w = cpu.matrix(w.clone()).expect("any weight");
    let y = cpu.upload(x, &[x.len() / width, width]).and_then(|x| cpu.linear(&x, &w));
    cpu.download(&y.expect("it fits")).expect("on the host")
}

/// Holds every backend to the definition.
fn assert_is_its_definition(x: &[f32], width: usize, w: &Weight) {
    let want = definition(x, &w.decode::<f32>(), width);
    for cpu in backends() {
        let got = linear(&cpu, x, width, w);
        if cpu.isa() == Isa::Portable {
            // Its sums round once more, and overflow sooner.
            let scale = want.iter().filter(|v| v.is_finite()).fold(0.0_f32, |m, v| m.max(v.abs()));
            for (got, want) in got.iter().zip(&want) {
                let close = (got - want).abs() <= 1e-5 * scale;
                let lost = !got.is_finite() && !want.is_finite();
                assert!(close || lost, "{got} is not {want}");
            }
        } else {
            assert_same_bits(&got, &want);
        }
    }
}

#[test]
fn products_are_their_definition() {
    let mut values = Values::new(41);
    let outputs = [1, 15, 16, 17, 63, 64, 65, 130];
    let widths = [1, 3, 4, 63, 64, 65, 255, 256, 257, 1100];
    for (i, width) in widths.into_iter().enumerate() {
        for rows in [1, 2, 3, 5, 6, 7, 13, 40] {
            let x: Vec<f32> = values.draw(rows * width);
            let outputs = outputs[(i + rows) % outputs.len()];
            let w =
                Weight::encode(Dtype::Bf16, [outputs, width], &values.draw::<f32>(outputs * width));
            assert_is_its_definition(&x, width, &w.expect("as many values"));
        }
    }
}

#[test]
fn every_stored_dtype_is_rounded_from_its_values() {
    let mut values = Values::new(42);
    let plain = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::F8E4m3]
        .map(|dtype| Storage { dtype, block: None });
    let blocks = [[128, 128], [16, 16], [3, 5], [1, 64]];
    let scaled = [Dtype::F8E4m3, Dtype::I8]
        .into_iter()
        .flat_map(|dtype| blocks.map(|block| Storage { dtype, block: Some(block) }));
    for storage in plain.into_iter().chain(scaled) {
        let w = storage.weight([37, 150], &mut values);
        assert_is_its_definition(&values.draw::<f32>(7 * 150), 150, &w);
    }
}

#[test]
fn values_that_are_not_finite_or_vanish_are_those_of_the_definition() {
    let mut values = Values::new(43);
    let width = 200;
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 1e-45, 0.0]
    {
        let (mut x, mut w): (Vec<f32>, Vec<f32>) =
            (values.draw(9 * width), values.draw(35 * width));
        x[3 * width + 70] = bad;
        x[5 * width..6 * width].fill(bad);
        w[20 * width + 199] = bad;
        w[21 * width..22 * width].fill(bad);
        let w = Weight::encode(Dtype::F32, [35, width], &w).expect("as many values");
        assert_is_its_definition(&x, width, &w);
    }
}

#[test]
fn the_largest_numbers_of_a_long_row_do_not_overflow() {
    let width = 7168;
    let x: Vec<f32> = (0..2 * width).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let w = Weight::encode(Dtype::F32, [17, width], &x.repeat(17)[..17 * width]).expect("they fit");
    assert_is_its_definition(&x, width, &w);
    assert!(max_difference(&linear(&Cpu::new().int8(), &x, width, &w)[..1], &[7168.0]) < 1e-2);
}

#[test]
fn an_error_is_at_most_half_a_step_of_either_side() {
    let mut values = Values::new(44);
    for (outputs, width) in [(11, 80), (130, 576), (40, 2048)] {
        let (x, w): (Vec<f32>, Vec<f32>) = (values.draw(3 * width), values.draw(outputs * width));
        let stored = Weight::encode(Dtype::F32, [outputs, width], &w).expect("as many values");
        let y = linear(&Cpu::new().int8(), &x, width, &stored);
        for (i, y) in y.iter().enumerate() {
            let x = &x[i / outputs * width..][..width];
            let w = &w[i % outputs * width..][..width];
            let (mut want, mut bound) = (0.0, 1e-6);
            for (x, w) in x.chunks(BLOCK).zip(w.chunks(BLOCK)) {
                let top = |v: &[f32]| f64::from(v.iter().fold(0.0_f32, |m, v| m.max(v.abs())));
                let (half_x, half_w) = (top(x) / 254.0, top(w) / 254.0);
                for (x, w) in x.iter().zip(w) {
                    let (x, w) = (f64::from(*x), f64::from(*w));
                    want += x * w;
                    bound += (x.abs() * half_w + w.abs() * half_x + half_x * half_w) * (1.0 + 1e-5);
                }
            }
            assert!((f64::from(*y) - want).abs() <= bound, "{y} is not within {bound} of {want}");
        }
    }
}

#[test]
fn a_weight_keeps_its_values_within_half_a_step() {
    let mut values = Values::new(45);
    let w = Storage { dtype: Dtype::Bf16, block: None }.weight([33, 130], &mut values);
    let cpu = Cpu::new().int8();
    let matrix = cpu.matrix(w.clone()).expect("any weight");
    // Three panels and three blocks, 17 lines each.
    assert_eq!((matrix.rows(), matrix.cols(), matrix.bytes()), (33, 130, 9 * 1088));
    let ids: Vec<u32> = (0..33).collect();
    let got = cpu.download(&cpu.gather(&matrix, &ids).expect("ids of rows")).expect("on the host");
    for (got, want) in got.chunks(130).zip(w.decode::<f32>().chunks(130)) {
        for (got, want) in got.chunks(BLOCK).zip(want.chunks(BLOCK)) {
            let top = want.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
            assert!(max_difference(got, want) <= f64::from(top) / 253.9);
        }
    }
}

#[test]
fn an_exact_weight_stays_as_it_is_stored() {
    let w = Weight::encode(Dtype::Bf16, [1, 2], &[1.0_f32, 1.0 / 128.0]).expect("two values");
    let cpu = Cpu::new().int8();
    let exact = cpu.exact(w.clone()).expect("any weight");
    assert!(matches!(exact, CpuMatrix::Stored(_)));
    let x = cpu.upload(&[1.0, 1.0], &[1, 2]).expect("two values");
    let y = cpu.linear(&x, &exact).expect("it fits");
    assert_eq!(cpu.download(&y).expect("on the host"), [1.007_812_5]);
    assert!(matches!(cpu.matrix(w), Ok(CpuMatrix::Int8(_))));
    assert_eq!(cpu.name(), format!("cpu int8 ({}, {} threads)", cpu.isa(), cpu.threads()));
}

#[test]
fn empty_weights_have_no_tiles() {
    for shape in [[0, 5], [5, 0], [0, 0]] {
        let w = Weight::encode::<f32>(Dtype::F32, shape, &[]).expect("empty");
        assert_eq!(Int8Weight::new(&Cpu::new(), &w).bytes(), 0);
    }
}

/// Bytes that know which parts were given back.
struct Watched {
    bytes: Vec<u8>,
    released: Mutex<Vec<Range<usize>>>,
}

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl ByteOwner for Watched {
    fn release(&self, range: Range<usize>) {
        self.released.lock().expect("no test panics here").push(range);
    }
}

#[test]
fn stored_bytes_are_given_back_as_they_are_packed() {
    // Rows of 512 KiB, 4 MiB at a time and whole panels: two portions and a part of one.
    let (rows, cols, before) = (37, 1 << 17, 5);
    let length = rows * cols * 4;
    let owner = Arc::new(Watched { bytes: vec![0; before + length], released: Mutex::default() });
    let bytes = Bytes::new(owner.clone(), before..before + length).expect("inside");
    let w = Weight::new(Dtype::F32, [rows, cols], bytes, None).expect("it fits");
    let packed = Int8Weight::new(&Cpu::new(), &w);
    assert_eq!(packed.rows(), rows);
    let released = owner.released.lock().expect("no test panics here").clone();
    let ends = [0, 16, 32, 37].map(|row| before + row * cols * 4);
    assert_eq!(released, [ends[0]..ends[1], ends[1]..ends[2], ends[2]..ends[3]]);
}
