//! Products on tiles, emulated ones where the processor has none: the same kernels run on both.

use std::ops::Range;

use latent_kernels::cpu::{Cpu, CpuMatrix, Inputs, Isa, Rows};
use latent_kernels::linear::cpu::product;
use latent_kernels::suite::{Values, assert_rows_stand_alone, assert_same_bits};
use latent_kernels::{Backend, Dtype, Matrix, Reference, Weight, max_difference};

mod emulated {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::backend_suite!(Cpu::new().on_emulated_tiles(), Tolerance::F32);
}

/// Emulated tiles beside every set of vectors, and the processor's where it has any, on one thread and on
/// three.
fn backends() -> Vec<Cpu> {
    let on = |isa, threads| Cpu::with(isa, threads).expect("detected");
    let mut all = Vec::new();
    for isa in Isa::detected() {
        for threads in [1, 3] {
            all.push(on(isa, threads).on_emulated_tiles());
            if isa == Isa::Amx {
                all.push(on(isa, threads));
            }
        }
    }
    all
}

/// The vectors of a backend, without tiles.
fn vectors(cpu: &Cpu) -> Cpu {
    let isa = if cpu.isa() == Isa::Amx { Isa::Avx512Vnni } else { cpu.isa() };
    Cpu::with(isa, 1).expect("it has them")
}

fn linear(cpu: &Cpu, x: &[f32], width: usize, w: &Weight) -> Vec<f32> {
    let w = cpu.matrix(w.clone()).expect("any weight");
    let y = cpu.upload(x, &[x.len() / width, width]).and_then(|x| cpu.linear(&x, &w));
    cpu.download(&y.expect("it fits")).expect("on the host")
}

/// A weight in bf16, values uniform in `[-1, 1)` before rounding.
fn bf16(values: &mut Values, [outputs, width]: [usize; 2]) -> Weight {
    let w: Vec<f32> = values.draw(outputs * width);
    Weight::encode(Dtype::Bf16, [outputs, width], &w).expect("as many values")
}

/// The sums of some rows with all outputs, `[row, output]`.
fn sums(cpu: &Cpu, matrix: &CpuMatrix, inputs: &Inputs, rows: Range<usize>) -> Vec<f32> {
    let outputs = matrix.rows();
    let mut all = vec![f32::NAN; rows.len() * outputs];
    matrix.product(cpu, inputs, rows.clone(), 0..outputs, |row, output, sums| {
        all[(row - rows.start) * outputs + output..][..sums.len()].copy_from_slice(sums);
    });
    all
}

/// The product in `f64`.
fn reference(x: &[f32], width: usize, w: &Weight) -> Vec<f64> {
    let reference = Reference::<f64>::new();
    let x: Vec<f64> = x.iter().map(|&v| v.into()).collect();
    let y = reference.upload(&x, &[x.len() / width, width]).and_then(|x| reference.linear(&x, w));
    reference.download(&y.expect("it fits")).expect("on the host")
}

#[test]
fn bytes_on_tiles_give_the_bits_of_vectors() {
    let mut values = Values::new(71);
    let outputs = [1, 15, 16, 17, 100];
    for (i, width) in [1, 63, 64, 65, 130, 2048].into_iter().enumerate() {
        for rows in 1..=40 {
            let outputs = outputs[(i + rows) % outputs.len()];
            let (x, w): (Vec<f32>, Vec<f32>) =
                (values.draw(rows * width), values.draw(outputs * width));
            let w = Weight::encode(Dtype::Bf16, [outputs, width], &w).expect("as many values");
            for cpu in backends() {
                let want = linear(&vectors(&cpu).int8(), &x, width, &w);
                assert_same_bits(&linear(&cpu.int8(), &x, width, &w), &want);
            }
        }
    }
}

#[test]
fn bytes_of_hostile_values_give_the_bits_of_vectors() {
    let (mut values, width) = (Values::new(72), 200);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 1e-45, 0.0] {
        let (mut x, mut w): (Vec<f32>, Vec<f32>) =
            (values.draw(9 * width), values.draw(35 * width));
        x[3 * width + 70] = bad;
        x[5 * width..6 * width].fill(bad);
        w[20 * width + 199] = bad;
        w[21 * width..22 * width].fill(bad);
        let w = Weight::encode(Dtype::F32, [35, width], &w).expect("as many values");
        for cpu in backends() {
            let want = linear(&vectors(&cpu).int8(), &x, width, &w);
            assert_same_bits(&linear(&cpu.int8(), &x, width, &w), &want);
        }
    }
}

#[test]
fn bf16_on_tiles_follows_the_reference() {
    let mut values = Values::new(73);
    let outputs = [1, 15, 16, 17, 63, 64, 65, 100];
    for (i, width) in [1, 2, 31, 32, 33, 63, 64, 65, 130, 2048, 7168].into_iter().enumerate() {
        for (j, rows) in [1, 2, 15, 16, 17, 24, 33, 40].into_iter().enumerate() {
            let w = bf16(&mut values, [outputs[(i + j) % outputs.len()], width]);
            let x: Vec<f32> = values.draw(rows * width);
            let want = reference(&x, width, &w);
            let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            let mut first = None;
            for cpu in backends() {
                let got = linear(&cpu, &x, width, &w);
                let difference = max_difference(&got, &want);
                assert!(difference <= 2e-6 * scale, "{width}: {difference:e} of {scale:e}");
                // The same bits beside any vectors and on any number of threads.
                assert_same_bits(&got, first.get_or_insert(got.clone()));
            }
        }
    }
}

#[test]
fn a_row_on_tiles_is_the_same_in_any_batch() {
    let mut values = Values::new(74);
    for (outputs, width) in [(16, 32), (67, 130), (130, 1100)] {
        let w = bf16(&mut values, [outputs, width]);
        let x: Vec<f32> = values.draw(61 * width);
        for cpu in backends() {
            assert_rows_stand_alone(61, |rows| {
                linear(&cpu, &x[rows.start * width..rows.end * width], width, &w)
            });
        }
    }
}

#[test]
fn some_rows_and_outputs_are_those_of_all() {
    let (mut values, width) = (Values::new(75), 70);
    let w = bf16(&mut values, [150, width]);
    let x: Vec<f32> = values.draw(50 * width);
    let slices: Vec<&[f32]> = x.chunks(width).collect();
    for cpu in backends() {
        let all = linear(&cpu, &x, width, &w);
        let prepared = Rows::gather(cpu.pool(), width, &slices).prepared(&cpu, &w);
        let plain = Rows::gather(cpu.pool(), width, &slices);
        for x in [&prepared, &plain] {
            for rows in [0..50, 0..1, 5..9, 10..33, 16..32, 49..50, 20..20] {
                for outputs in [0..150, 3..4, 7..90, 149..150, 64..128, 9..9] {
                    let mut got = vec![f32::NAN; rows.len() * outputs.len()];
                    product(
                        &cpu,
                        x,
                        rows.clone(),
                        &w,
                        outputs.clone(),
                        &mut |row, output, sums| {
                            let at = (row - rows.start) * outputs.len() + output - outputs.start;
                            got[at..at + sums.len()].copy_from_slice(sums);
                        },
                    );
                    let want: Vec<f32> = rows
                        .clone()
                        .flat_map(|row| all[row * 150..][outputs.clone()].to_vec())
                        .collect();
                    assert_same_bits(&got, &want);
                }
            }
        }
    }
}

#[test]
fn bounds_between_rows_change_no_bit() {
    let (mut values, width, outputs) = (Values::new(77), 70, 83);
    let w = bf16(&mut values, [outputs, width]);
    // More rows than meet all weights before the next do.
    let x: Vec<f32> = values.draw(230 * width);
    let slices: Vec<&[f32]> = x.chunks(width).collect();
    for cpu in backends().into_iter().flat_map(|cpu| [cpu.clone(), cpu.clone().bf16(), cpu.int8()])
    {
        let want = linear(&cpu, &x, width, &w);
        let matrix = cpu.matrix(w.clone()).expect("any weight");
        let product = |inputs: &Inputs, rows: Range<usize>| {
            let want = &want[rows.start * outputs..rows.end * outputs];
            assert_same_bits(&sums(&cpu, &matrix, inputs, rows), want);
        };
        let bounds = [0, 5, 5, 38, 39, 39 + 16, 230];
        let bounded = Inputs::bounded(&cpu, &[&matrix], &slices, &bounds);
        for of_bounds in bounds.windows(2) {
            product(&bounded, of_bounds[0]..of_bounds[1]);
        }
        product(&bounded, 3..60);
        product(&bounded, 0..230);
        product(&Inputs::new(&cpu, &[&matrix], &slices), 0..230);
    }
}

#[test]
fn inputs_meet_weights_of_any_stored_dtype() {
    let (mut values, width) = (Values::new(76), 70);
    let x: Vec<f32> = values.draw(20 * width);
    let slices: Vec<&[f32]> = x.chunks(width).collect();
    let weights: Vec<Weight> = [Dtype::Bf16, Dtype::F32, Dtype::F16]
        .map(|dtype| Weight::encode(dtype, [9, width], &values.draw::<f32>(9 * width)))
        .map(|w| w.expect("as many values"))
        .into();
    for cpu in backends() {
        for made_for in &weights {
            let made_for = CpuMatrix::Stored(made_for.clone());
            let x_for = Inputs::new(&cpu, &[&made_for], &slices);
            for w in &weights {
                let got = sums(&cpu, &CpuMatrix::Stored(w.clone()), &x_for, 0..20);
                assert_same_bits(&got, &linear(&cpu, &x, width, w));
                // Tiles are for bf16 alone.
                if w.dtype() != Dtype::Bf16 {
                    assert_same_bits(&got, &linear(&vectors(&cpu), &x, width, w));
                }
            }
        }
    }
}

#[test]
#[expect(unsafe_code, reason = "parts of rows are written by tasks that do not meet")]
fn rows_that_were_written_are_split_anew() {
    let w = Weight::encode(Dtype::Bf16, [1, 2], &[10.0_f32, 1.0]).expect("two values");
    for cpu in backends() {
        let sum = |rows: &Rows| {
            let mut y = f32::NAN;
            product(&cpu, rows, 0..1, &w, 0..1, &mut |_, _, sums| y = sums[0]);
            y
        };
        let mut rows = Rows::pack(2, [&[1.0, 2.0][..]].into_iter()).prepared(&cpu, &w);
        assert_same_bits(&[sum(&rows)], &[12.0]);
        rows.row_mut(0)[0] = 3.0;
        assert_same_bits(&[sum(&rows)], &[32.0]);
        let mut rows = rows.prepared(&cpu, &w);
        // SAFETY: the only task that writes.
        unsafe { rows.parts().0.write(1, 3.0) };
        assert_same_bits(&[sum(&rows)], &[33.0]);
    }
}

#[test]
fn every_bf16_is_read_exactly_and_small_ones_as_zeros() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let mut want = vec![0.0_f32; 1 << 16];
    Dtype::Bf16.decode(&all, &mut want);
    // A zero keeps no sign in a sum, and an infinite weight meets parts that are 0.
    want.iter_mut().for_each(|v| {
        *v = if v.is_subnormal() { 0.0 } else { *v + 0.0 };
        *v = if v.is_infinite() { f32::NAN } else { *v };
    });
    for width in [1, 32, 33] {
        let mut rows = vec![0; all.len() * width];
        for (i, element) in all.chunks(2).enumerate() {
            rows[2 * (i * width + i % width)..][..2].copy_from_slice(element);
        }
        let w = Weight::new(Dtype::Bf16, [1 << 16, width], rows.into(), None).expect("it fits");
        let cpu = Cpu::new().on_emulated_tiles();
        assert_same_bits(&linear(&cpu, &vec![1.0; width], width, &w), &want);
    }
}

#[test]
fn values_that_are_not_finite_spoil_their_row_or_output_alone() {
    let (mut values, width) = (Values::new(77), 70);
    let stored = bf16(&mut values, [35, width]).decode::<f32>();
    let low_nan = f32::from_bits(0x7f80_0001);
    for bad in [f32::NAN, low_nan, f32::INFINITY, f32::NEG_INFINITY] {
        let (mut x, mut w): (Vec<f32>, Vec<f32>) = (values.draw(20 * width), stored.clone());
        x[3 * width + 69] = bad;
        w[17 * width] = bad;
        w[20 * width..21 * width].fill(bad);
        w[34 * width + 5] = 0.0;
        x[4 * width + 5] = bad;
        let w = Weight::encode(Dtype::Bf16, [35, width], &w).expect("as many values");
        let want = reference(&x, width, &w);
        for cpu in backends() {
            for (i, (y, want)) in linear(&cpu, &x, width, &w).iter().zip(&want).enumerate() {
                // Close, equal infinities among them; a NaN for a NaN; either for an infinite weight.
                let of_weight = [17, 20].contains(&(i % 35)) && !y.is_finite();
                let same = max_difference(&[*y], &[*want]) < 1e-5
                    || y.is_nan() && want.is_nan()
                    || of_weight && !want.is_finite();
                assert!(same, "{bad} at {i}: {y}, {want}");
            }
        }
    }
}

#[test]
fn the_largest_and_the_smallest_numbers_stay_within_their_bounds() {
    let mut values = Values::new(78);
    let width = 40;
    let w = bf16(&mut values, [20, width]);
    let wide = w.decode::<f64>();
    let least = f64::from(f32::MIN_POSITIVE);
    for magnitude in [f32::MAX, 1e30, 1e-30, 1e-35, f32::MIN_POSITIVE, 1e-40, 1e-45, 0.0] {
        // One of them in a row, so that nothing overflows on the way, and a row of them where it cannot.
        let mut x = vec![0.0_f32; 3 * width];
        x[7] = magnitude;
        x[width + 39] = -magnitude;
        if magnitude < 1e38 {
            x[2 * width..].fill(magnitude);
        }
        let want = reference(&x, width, &w);
        for cpu in backends() {
            for (i, y) in linear(&cpu, &x, width, &w).into_iter().enumerate() {
                let (row, output) = (i / 20, i % 20);
                let sizes = x[row * width..][..width].iter().zip(&wide[output * width..]);
                let (mut rounding, mut dropped) = (0.0, 0.0);
                for (x, w) in sizes.filter(|(x, _)| **x != 0.0) {
                    rounding += (f64::from(*x) * w).abs() * 1e-6;
                    dropped += least * (w.abs() + 9.0);
                }
                let difference = (f64::from(y) - want[i]).abs();
                assert!(difference <= rounding + dropped, "{magnitude:e} at {i}: {y:e}");
            }
        }
    }
    // Where the sum is no number of 32 bits, it is none here.
    let y = linear(&Cpu::new().on_emulated_tiles(), &[f32::MAX; 40], width, &bf16_ones(width));
    assert_same_bits(&y, &[f32::INFINITY]);
}

fn bf16_ones(width: usize) -> Weight {
    Weight::encode(Dtype::Bf16, [1, width], &vec![1.0_f32; width]).expect("as many values")
}

#[test]
fn weights_below_the_normal_numbers_are_zeros() {
    let small = f32::from_bits(0x007f_0000);
    let w = Weight::encode(Dtype::Bf16, [1, 3], &[small, 2.0, -small]).expect("three values");
    for cpu in backends() {
        assert_same_bits(&linear(&cpu, &[1e30, 0.5, 1e30], 3, &w), &[1.0]);
    }
}
