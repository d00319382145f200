//! Products in bf16: their definition, bit for bit, and what stays in `f32`.

use half::bf16;
use latent_kernels::cpu::{Cpu, CpuMatrix, Inputs, Isa};
use latent_kernels::suite::{Storage, Values, assert_same_bits};
use latent_kernels::{Backend, BlockScale, Dtype, Weight, max_difference};

mod fastest {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::stamp! { latent_kernels::suite, Cpu::new().bf16(), Tolerance::F32;
        linear: a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit, wrong_shapes_are_errors;
        gather: a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit,
            an_id_out_of_range_is_an_error;
    }
}

mod on_emulated_tiles {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::stamp! { latent_kernels::suite, Cpu::new().on_emulated_tiles().bf16(), Tolerance::F32;
        linear: a_row_alone_equals_the_row_in_a_batch, threads_change_no_bit, wrong_shapes_are_errors;
    }
}

/// Every set that this processor has, on one thread and on three.
fn backends() -> Vec<Cpu> {
    let sets = Isa::detected().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]);
    sets.map(|(isa, threads)| Cpu::with(isa, threads).expect("detected").bf16()).collect()
}

/// `values` rounded to bf16.
fn round(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect()
}

/// The second and the first of each pair of 32 columns to its lane, then the lanes, halves first.
fn sum(x: &[f32], w: &[f32]) -> f32 {
    added_up(lanes_of(x, w))
}

fn lanes_of(x: &[f32], w: &[f32]) -> [f32; 16] {
    let mut lanes = [0.0_f32; 16];
    for (x, w) in x.chunks(32).zip(w.chunks(32)) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            for i in [2 * lane + 1, 2 * lane] {
                if i < x.len() {
                    *sum = x[i].mul_add(w[i], *sum);
                }
            }
        }
    }
    lanes
}

fn added_up(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// The products of rounded rows with each row of `w`.
fn definition(x: &[f32], w: &[f32], width: usize) -> Vec<f32> {
    let x = round(x);
    x.chunks(width).flat_map(|x| w.chunks(width).map(|w| sum(x, w)).collect::<Vec<_>>()).collect()
}

/// The same where blocks have scales: each lane's sum of a block is scaled, and added with one rounding.
fn definition_of_blocks(x: &[f32], w: &Weight) -> Vec<f32> {
    let (x, width) = (round(x), w.cols());
    let numbers = Weight::new(w.dtype(), [w.rows(), width], w.bytes().clone(), None);
    let numbers = numbers.expect("without scales").decode::<f32>();
    let one = BlockScale { block: [w.rows(), width], values: vec![1.0] };
    let BlockScale { block, values } = w.scale().unwrap_or(&one);
    let mut sums = Vec::new();
    for x in x.chunks(width) {
        for (output, w) in numbers.chunks(width).enumerate() {
            let scales = &values[output / block[0] * width.div_ceil(block[1])..];
            let mut lanes = [0.0_f32; 16];
            for ((x, w), scale) in x.chunks(block[1]).zip(w.chunks(block[1])).zip(scales) {
                for (lane, of_block) in lanes.iter_mut().zip(lanes_of(x, w)) {
                    *lane = of_block.mul_add(*scale, *lane);
                }
            }
            sums.push(added_up(lanes));
        }
    }
    sums
}

fn linear(cpu: &Cpu, x: &[f32], width: usize, w: &Weight) -> Vec<f32> {
    let w = cpu.matrix(w.clone()).expect("any weight");
    let y = cpu.upload(x, &[x.len() / width, width]).and_then(|x| cpu.linear(&x, &w));
    cpu.download(&y.expect("it fits")).expect("on the host")
}

/// A weight in bf16, values uniform in `[-1, 1)` before rounding.
fn weight(values: &mut Values, shape: [usize; 2]) -> Weight {
    Storage { dtype: Dtype::Bf16, block: None }.weight(shape, values)
}

/// Holds every backend to the definition.
fn assert_is_its_definition(x: &[f32], width: usize, w: &Weight) {
    assert_is(&definition(x, &w.decode::<f32>(), width), x, w);
}

/// Holds every backend to `want`.
fn assert_is(want: &[f32], x: &[f32], w: &Weight) {
    for cpu in backends() {
        assert!(matches!(cpu.matrix(w.clone()), Ok(CpuMatrix::Bf16(_))), "a weight that is taken");
        let got = linear(&cpu, x, w.cols(), w);
        if cpu.isa().shares_bits() {
            assert_same_bits(&got, want);
        } else {
            // Other roundings, which show where terms cancel.
            let scale = want.iter().filter(|v| v.is_finite()).fold(1.0_f32, |m, v| m.max(v.abs()));
            for (got, want) in got.iter().zip(want) {
                let close = (got - want).abs() <= 1e-5 * scale;
                assert!(close || !got.is_finite() && !want.is_finite(), "{got} is not {want}");
            }
        }
    }
}

#[test]
fn products_are_their_definition() {
    let mut values = Values::new(51);
    let outputs = [1, 3, 4, 5, 31, 32, 33, 130, 300];
    let widths = [1, 2, 15, 16, 31, 32, 33, 64, 257, 1024, 1025, 2080];
    for (i, width) in widths.into_iter().enumerate() {
        for rows in [1, 2, 3, 5, 6, 7, 13, 23, 24, 41] {
            let x: Vec<f32> = values.draw(rows * width);
            let outputs = outputs[(i + rows) % outputs.len()];
            assert_is_its_definition(&x, width, &weight(&mut values, [outputs, width]));
        }
    }
}

#[test]
fn values_that_are_not_finite_are_those_of_the_definition() {
    let mut values = Values::new(52);
    let width = 200;
    // The largest numbers round to an infinity.
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 0.0, -0.0] {
        let (mut x, mut w): (Vec<f32>, Vec<f32>) =
            (values.draw(30 * width), values.draw(35 * width));
        x[3 * width + 70] = bad;
        x[5 * width..6 * width].fill(bad);
        w[20 * width + 199] = bad;
        w[21 * width..22 * width].fill(bad);
        let w = Weight::encode(Dtype::Bf16, [35, width], &w).expect("as many values");
        assert_is_its_definition(&x, width, &w);
    }
}

#[test]
fn a_nan_of_low_bits_stays_one() {
    let nan = f32::from_bits(0x7f80_0001);
    let w = Weight::encode(Dtype::Bf16, [1, 1], &[1.0_f32]).expect("a value");
    for cpu in backends() {
        assert!(linear(&cpu, &[nan], 1, &w)[0].is_nan());
    }
}

#[test]
fn values_below_the_normal_numbers_vanish_or_count() {
    let mut values = Values::new(53);
    let width = 96;
    let tiny: Vec<f32> = values.draw::<f32>(7 * width).iter().map(|v| v * 1e-38).collect();
    let w: Vec<f32> = values.draw::<f32>(9 * width).iter().map(|v| v * 1e-2).collect();
    let w = Weight::encode(Dtype::Bf16, [9, width], &w).expect("as many values");
    let want = definition(&tiny, &w.decode::<f32>(), width);
    for cpu in backends() {
        for (got, want) in linear(&cpu, &tiny, width, &w).iter().zip(&want) {
            assert!((got - want).abs() <= width as f32 * 2.0 * f32::MIN_POSITIVE);
        }
    }
}

#[test]
fn tiles_multiply_rounded_rows() {
    let mut values = Values::new(54);
    for (rows, width, outputs) in [(1, 33, 17), (5, 64, 70), (40, 300, 5), (17, 31, 16)] {
        let (x, w) = (values.draw::<f32>(rows * width), weight(&mut values, [outputs, width]));
        let want = definition(&x, &w.decode::<f32>(), width);
        for isa in Isa::detected() {
            let cpu = Cpu::with(isa, 2).expect("detected").on_emulated_tiles().bf16();
            assert!(max_difference(&linear(&cpu, &x, width, &w), &want) < 1e-4);
            // One part in place of three: other bits than those of activations in `f32`.
            assert_same_bits(&linear(&cpu, &x, width, &w), &linear(&cpu, &round(&x), width, &w));
        }
    }
}

#[test]
fn blocks_of_e4m3_are_their_definition() {
    let mut values = Values::new(57);
    let blocks = [None, Some([128, 128]), Some([7, 32]), Some([64, 96]), Some([500, 5000])];
    for (i, width) in [1, 31, 32, 33, 127, 128, 129, 257, 1025, 2080].into_iter().enumerate() {
        for rows in [1, 2, 3, 6, 7, 23, 24, 41] {
            let x: Vec<f32> = values.draw(rows * width);
            let outputs = [1, 4, 7, 33, 130, 300][(i + rows) % 6];
            let block = blocks[(i + rows) % blocks.len()];
            let w = Storage { dtype: Dtype::F8E4m3, block }.weight([outputs, width], &mut values);
            assert_is(&definition_of_blocks(&x, &w), &x, &w);
        }
    }
}

#[test]
fn every_e4m3_and_scales_that_are_not_finite_are_those_of_the_definition() {
    let mut values = Values::new(58);
    let (outputs, width) = (9, 256);
    let bytes: Vec<u8> = (0..=255).cycle().take(outputs * width).collect();
    let mut scales: Vec<f32> = values.draw(3 * 2);
    for rows in [1, 30] {
        let x: Vec<f32> = values.draw(rows * width);
        for bad in [1.0, f32::NAN, f32::INFINITY, 0.0] {
            scales[3] = bad;
            let scale = BlockScale { block: [4, 128], values: scales.clone() };
            let w = Weight::new(Dtype::F8E4m3, [outputs, width], bytes.clone().into(), Some(scale));
            let w = w.expect("as many scales");
            if bad.is_finite() {
                assert_is(&definition_of_blocks(&x, &w), &x, &w);
            }
            // What kernels can't scale is decoded, and has the same values.
            let want = definition(&x, &w.decode::<f32>(), width);
            let got = linear(&Cpu::new().bf16(), &x, width, &w);
            for (got, want) in got.iter().zip(&want) {
                let close = (got - want).abs() <= 2e-2 * want.abs().max(500.0);
                assert!(close || !got.is_finite() && !want.is_finite(), "{got} is not {want}");
            }
        }
    }
}

#[test]
fn a_number_alone_is_each_e4m3() {
    let bytes: Vec<u8> = (0..=255).collect();
    let w = Weight::new(Dtype::F8E4m3, [256, 1], bytes.into(), None).expect("as many");
    // Sums begin with 0, so none is -0.
    let want: Vec<f32> = w.decode::<f32>().iter().map(|v| v + 0.0).collect();
    for cpu in backends() {
        for rows in [1, 25] {
            assert_same_bits(&linear(&cpu, &vec![1.0; rows], 1, &w), &want.repeat(rows));
        }
    }
}

#[test]
fn other_weights_have_products_in_f32() {
    let mut values = Values::new(55);
    let x: Vec<f32> = values.draw(3 * 128);
    let plain = [Dtype::F32, Dtype::F16].map(|dtype| Storage { dtype, block: None });
    // Scales that change within 32 columns.
    let scaled = [Storage { dtype: Dtype::F8E4m3, block: Some([128, 48]) }];
    for storage in plain.into_iter().chain(scaled) {
        let w = storage.weight([9, 128], &mut values);
        assert!(matches!(Cpu::new().bf16().matrix(w.clone()), Ok(CpuMatrix::Stored(_))));
        assert_same_bits(
            &linear(&Cpu::new().bf16(), &x, 128, &w),
            &linear(&Cpu::new(), &x, 128, &w),
        );
    }
}

#[test]
fn e4m3_beside_tiles_goes_by_vectors() {
    let mut values = Values::new(59);
    let x: Vec<f32> = values.draw(30 * 200);
    let w =
        Storage { dtype: Dtype::F8E4m3, block: Some([128, 128]) }.weight([40, 200], &mut values);
    let plain = weight(&mut values, [40, 200]);
    let cpu = Cpu::new().on_emulated_tiles().bf16();
    assert_same_bits(&linear(&cpu, &x, 200, &w), &linear(&Cpu::new().bf16(), &x, 200, &w));
    // Rows that meet both.
    let rows: Vec<&[f32]> = x.chunks(200).collect();
    let both = [CpuMatrix::Bf16(w), CpuMatrix::Bf16(plain)];
    let inputs = Inputs::new(&cpu, &[&both[0], &both[1]], &rows);
    for w in &both {
        let CpuMatrix::Bf16(weight) = w else { unreachable!("made so") };
        let want = linear(&cpu, &x, 200, weight);
        w.product(&cpu, &inputs, 0..30, 0..40, |row, output, sums| {
            assert_same_bits(sums, &want[row * 40 + output..][..sums.len()]);
        });
    }
}

#[test]
fn an_exact_weight_meets_activations_in_f32() {
    let w = Weight::encode(Dtype::Bf16, [1, 1], &[1.0_f32]).expect("a value");
    let cpu = Cpu::new().bf16();
    let x = cpu.upload(&[1.001], &[1, 1]).expect("a value");
    let exact = cpu.exact(w.clone()).expect("any weight");
    assert_eq!(cpu.download(&cpu.linear(&x, &exact).expect("it fits")).expect("here"), [1.001]);
    assert_eq!(linear(&cpu, &[1.001], 1, &w), [1.0]);
    assert_eq!(cpu.name(), format!("cpu bf16 ({}, {} threads)", cpu.isa(), cpu.threads()));
}

#[test]
fn rounding_is_to_the_nearest_ties_to_even() {
    let w = Weight::encode(Dtype::Bf16, [1, 1], &[1.0_f32]).expect("a value");
    let mut values = Values::new(56);
    let drawn = values.draw::<f32>(4000);
    let ties = [0x3f80_8000, 0x3f81_8000, 0x3f80_8001, 0x3f80_7fff].map(f32::from_bits);
    for cpu in backends() {
        let x = [&drawn[..], &ties].concat();
        assert_same_bits(&linear(&cpu, &x, 1, &w), &round(&x));
    }
}
