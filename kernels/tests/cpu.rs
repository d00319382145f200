//! The suite, stamped for the fast backend, and what holds for it alone.

use latent_kernels::cpu::{Cpu, Isa, Kernel, LANES, Simd, exp, silu};
use latent_kernels::suite::{Storage, Values, assert_same_bits};
use latent_kernels::{Backend, BlockScale, Dtype, KernelError, Reference, Weight, max_difference};

mod fastest {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::backend_suite!(Cpu::new(), Tolerance::F32);
}

mod portable {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::{Cpu, Isa};
    latent_kernels::backend_suite!(Cpu::with(Isa::Portable, 3).expect("any"), Tolerance::F32);
}

/// Every set that this processor has, on one thread and on three.
fn backends() -> impl Iterator<Item = Cpu> {
    let sets = Isa::detected().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]);
    sets.map(|(isa, threads)| Cpu::with(isa, threads).expect("detected"))
}

/// Every way to store a weight, with blocks as wide as vectors, narrower, and wider than the weight.
fn storages() -> Vec<Storage> {
    let plain = [Dtype::F64, Dtype::F32, Dtype::F16, Dtype::Bf16, Dtype::F8E4m3]
        .map(|dtype| Storage { dtype, block: None });
    let blocks = [[128, 128], [16, 16], [3, 5], [1, 64]];
    let scaled = [Dtype::F8E4m3, Dtype::I8]
        .into_iter()
        .flat_map(|dtype| blocks.map(|block| Storage { dtype, block: Some(block) }));
    plain.into_iter().chain(scaled).collect()
}

/// Holds results to the same bits on each set, and on all sets that share them; others are near.
fn assert_bits_are_shared(results: Vec<(Isa, Vec<f32>)>) {
    for (isa, got) in &results {
        for (other, want) in &results {
            if isa == other || isa.shares_bits() && other.shares_bits() {
                assert_same_bits(got, want);
            } else {
                assert!(max_difference(got, want) < 1e-4, "{isa} and {other}");
            }
        }
    }
}

fn linear(cpu: &Cpu, x: &[f32], width: usize, w: &Weight) -> Vec<f32> {
    let rows = x.len() / width;
    let w = cpu.matrix(w.clone()).expect("taken as it is");
    let y = cpu.upload(x, &[rows, width]).and_then(|x| cpu.linear(&x, &w));
    cpu.download(&y.expect("it fits")).expect("on the host")
}

#[test]
fn threads_and_instructions_change_no_bit() {
    let mut values = Values::new(21);
    for (outputs, width) in [(1, 1), (7, 16), (33, 65), (70, 130), (5, 1000)] {
        for storage in storages() {
            let w = storage.weight([outputs, width], &mut values);
            for rows in [1, 2, 7, 21, 24, 53] {
                let x: Vec<f32> = values.draw(rows * width);
                let results = backends().map(|cpu| (cpu.isa(), linear(&cpu, &x, width, &w)));
                assert_bits_are_shared(results.collect());
            }
        }
    }
}

#[test]
fn one_row_or_many_is_the_same_sum() {
    let mut values = Values::new(22);
    for cpu in backends() {
        for storage in storages() {
            let w = storage.weight([67, 1100], &mut values);
            let x: Vec<f32> = values.draw(61 * 1100);
            let all = linear(&cpu, &x, 1100, &w);
            for rows in [1, 3, 7, 25] {
                let parts: Vec<f32> =
                    x.chunks(rows * 1100).flat_map(|x| linear(&cpu, x, 1100, &w)).collect();
                assert_same_bits(&parts, &all);
            }
        }
    }
}

#[test]
fn sizes_of_published_models_follow_the_reference() {
    let mut values = Values::new(23);
    let reference = Reference::<f64>::new();
    for (width, rows) in [(80, 1), (36, 5), (576, 8), (1408, 3), (2048, 25), (7168, 1)] {
        for storage in storages() {
            let w = storage.weight([11, width], &mut values);
            let x: Vec<f32> = values.draw(rows * width);
            let wide: Vec<f64> = x.iter().map(|&v| v.into()).collect();
            let want =
                reference.upload(&wide, &[rows, width]).and_then(|x| reference.linear(&x, &w));
            let want = reference.download(&want.expect("it fits")).expect("on the host");
            let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
            for cpu in backends() {
                let difference = max_difference(&linear(&cpu, &x, width, &w), &want);
                assert!(difference <= 2e-6 * scale, "{storage:?}: {difference:e} of {scale:e}");
            }
        }
    }
}

/// Every value of a stored type, among zeros at any place of a row, times 1.
fn assert_every_value_is_read_exactly(dtype: Dtype, bytes: &[u8]) {
    let mut want = vec![0.0_f32; bytes.len() / dtype.bytes()];
    dtype.decode(bytes, &mut want);
    // A zero keeps no sign in a sum.
    want.iter_mut().for_each(|v| *v += 0.0);
    // One element is read with zeros behind it, sixteen as a vector, and vectors in pairs.
    for width in [1, LANES, 3 * LANES] {
        let mut rows = vec![0; bytes.len() * width];
        for (i, element) in bytes.chunks(dtype.bytes()).enumerate() {
            rows[(i * width + i % width) * element.len()..][..element.len()]
                .copy_from_slice(element);
        }
        let w = Weight::new(dtype, [want.len(), width], rows.into(), None).expect("it fits");
        // Tiles read bf16 in another way: see `tiles.rs`.
        for cpu in backends().filter(|cpu| cpu.isa() != Isa::Amx) {
            assert_same_bits(&linear(&cpu, &vec![1.0; width], width, &w), &want);
        }
    }
}

#[test]
fn every_value_of_16_bits_is_read_exactly() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    assert_every_value_is_read_exactly(Dtype::Bf16, &all);
    assert_every_value_is_read_exactly(Dtype::F16, &all);
}

#[test]
fn every_value_of_8_bits_is_read_exactly() {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    assert_every_value_is_read_exactly(Dtype::F8E4m3, &all);
    assert_every_value_is_read_exactly(Dtype::I8, &all);
}

/// A function of sixteen lanes, on each set.
struct Each<'a> {
    x: &'a [f32],
    silu: bool,
}

impl Kernel for Each<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    #[expect(unsafe_code, reason = "kernels are called through vector instructions")]
    unsafe fn run<S: Simd>(self) -> Vec<f32> {
        let mut y = self.x.to_vec();
        for y in y.chunks_exact_mut(LANES) {
            // SAFETY: a chunk is a vector, and the processor has the set.
            unsafe {
                let v = S::load(y.as_ptr());
                S::store(y.as_mut_ptr(), if self.silu { silu::<S>(v) } else { exp::<S>(v) });
            }
        }
        y
    }
}

#[test]
fn exponentials_are_within_two_units_and_keep_their_limits() {
    let mut x: Vec<f32> = (-10_000..9_000).map(|i| i as f32 / 100.0 + 1e-3).collect();
    x.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 88.7, -103.0, -87.5]);
    x.resize(x.len().next_multiple_of(LANES), 1.0);
    for isa in Isa::detected() {
        for (x, y) in x.iter().zip(isa.run(Each { x: &x, silu: false })) {
            let want = f64::from(*x).exp();
            let unit = f64::from(f32::EPSILON) * want.max(f64::from(f32::MIN_POSITIVE)) * 2.0;
            let close = (f64::from(y) - want).abs() <= unit;
            let limit = y.is_infinite() && want > f64::from(f32::MAX);
            assert!(
                close || limit || (x.is_nan() && y.is_nan()),
                "{isa}: e^{x} is {y:e}, {want:e}"
            );
        }
        for (x, y) in x.iter().zip(isa.run(Each { x: &x, silu: true })) {
            let z = f64::from(*x);
            let want = if z == f64::NEG_INFINITY { -0.0 } else { z / (1.0 + (-z).exp()) };
            let close = (f64::from(y) - want).abs() <= 3e-7 * want.abs() + 1e-36
                || y.is_infinite() && want.is_infinite();
            assert!(close || (x.is_nan() && y.is_nan()), "{isa}: silu({x}) is {y:e}, {want:e}");
        }
    }
}

/// Sixteen numbers in bf16, and each of them beside the first one.
struct InBf16<'a>(&'a [f32; LANES]);

impl Kernel for InBf16<'_> {
    type Output = ([u8; 2 * LANES], [u8; 4 * LANES]);

    #[inline(always)]
    #[expect(unsafe_code, reason = "kernels are called through vector instructions")]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        let (mut alone, mut pairs) = ([0; 2 * LANES], [0; 4 * LANES]);
        // SAFETY: each array is a vector, and the processor has the set.
        unsafe {
            let v = S::round_bf16(S::load(self.0.as_ptr()));
            S::store_bf16(alone.as_mut_ptr(), v);
            let first = S::round_bf16(S::splat(self.0[0]));
            S::store_bf16_pairs(pairs.as_mut_ptr(), first, v);
        }
        (alone, pairs)
    }
}

#[test]
fn numbers_are_rounded_to_bf16_as_on_loading() {
    let high = (0..=u16::MAX).step_by(7).map(|bits| u32::from(bits) << 16);
    let bits = high.flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| high | low));
    let mut x: Vec<f32> = bits.map(f32::from_bits).collect();
    x.resize(x.len().next_multiple_of(LANES), 1.0);
    for isa in Isa::detected() {
        for x in x.as_chunks().0 {
            let (alone, pairs) = isa.run(InBf16(x));
            let mut want = [0.0; LANES];
            Dtype::Bf16.decode(&Dtype::Bf16.encode(x), &mut want);
            for (l, want) in want.into_iter().enumerate() {
                let number = |bytes: &[u8]| {
                    f32::from_bits(u32::from(u16::from_le_bytes([bytes[0], bytes[1]])) << 16)
                };
                let [first, second] = [&pairs[4 * l..], &pairs[4 * l + 2..]].map(number);
                for (got, want) in
                    [(number(&alone[2 * l..]), want), (second, want), (first, number(&alone))]
                {
                    let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                    assert!(same, "{isa}: {:e} becomes {got:e}, want {want:e}", x[l]);
                }
            }
        }
    }
}

/// Sixteen rows of sixteen words, as columns.
struct Transposed<'a>(&'a [[u32; LANES + 1]; LANES]);

impl Kernel for Transposed<'_> {
    type Output = [[u32; LANES + 3]; LANES];

    #[inline(always)]
    #[expect(unsafe_code, reason = "kernels are called through vector instructions")]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        let mut columns = [[0; LANES + 3]; LANES];
        // SAFETY: both are sixteen rows of sixteen words, and the processor has the set.
        unsafe {
            S::transpose(self.0.as_ptr().cast(), LANES + 1, columns.as_mut_ptr().cast(), LANES + 3);
        }
        columns
    }
}

#[test]
fn rows_become_columns_on_every_set() {
    // Words that are no numbers stay as they are.
    let word = |row: usize, column: usize| {
        0xff80_0000 + u32::try_from(100 * row + column).expect("a few thousand")
    };
    let mut rows = [[0; LANES + 1]; LANES];
    for (row, words) in rows.iter_mut().enumerate() {
        words.iter_mut().enumerate().for_each(|(column, to)| *to = word(row, column));
    }
    for isa in Isa::detected() {
        for (column, words) in isa.run(Transposed(&rows)).iter().enumerate() {
            for (row, &found) in words.iter().enumerate() {
                let want = if row < LANES { word(row, column) } else { 0 };
                assert_eq!(found, want, "{isa}: {row}, {column}");
            }
        }
    }
}

#[test]
fn what_this_processor_has_not_is_an_error() {
    let error = Cpu::with(Isa::Portable, 0).unwrap_err();
    assert_eq!(error.to_string(), "threads: got 0, want at least 1");
    let other = if cfg!(target_arch = "aarch64") { Isa::Avx2 } else { Isa::Neon };
    let error = Cpu::with(other, 1).unwrap_err();
    assert!(matches!(error, KernelError::Setting { .. }), "{error}");
    assert!("avx".parse::<Isa>().is_err());
}

#[test]
fn a_row_that_is_not_finite_spoils_no_other() {
    let mut values = Values::new(24);
    let w = Weight::encode(Dtype::Bf16, [9, 40], &values.draw::<f32>(360)).expect("it fits");
    for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
        let mut x: Vec<f32> = values.draw(12 * 40);
        let want = linear(&Cpu::new(), &x, 40, &w);
        x[5 * 40..6 * 40].fill(bad);
        let got = linear(&Cpu::new(), &x, 40, &w);
        assert_same_bits(&got[..5 * 9], &want[..5 * 9]);
        assert_same_bits(&got[6 * 9..], &want[6 * 9..]);
    }
}

#[test]
fn a_gate_has_the_same_bits_in_any_block() {
    let mut values = Values::new(25);
    let (mut gate, up): (Vec<f32>, Vec<f32>) = (values.draw(40_007), values.draw(40_007));
    for (i, z) in gate.iter_mut().enumerate() {
        *z = match i % 97 {
            0 => f32::NAN,
            1 => f32::NEG_INFINITY,
            2 => f32::INFINITY,
            _ => *z * 30.0,
        };
    }
    let swiglu = |cpu: &Cpu, part: std::ops::Range<usize>| {
        let of = |x: &[f32]| cpu.upload(&x[part.clone()], &[part.len()]).expect("a vector");
        let y = cpu.swiglu(&of(&gate), &of(&up)).expect("equal shapes");
        cpu.download(&y).expect("on the host")
    };
    let want = swiglu(&Cpu::new(), 0..gate.len());
    for ((y, z), u) in want.iter().zip(&gate).zip(&up) {
        let (z, u) = (f64::from(*z), f64::from(*u));
        let exact = if z == f64::NEG_INFINITY { 0.0 } else { z / (1.0 + (-z).exp()) * u };
        // Equal infinities differ by 0.
        let close = max_difference(&[*y], &[exact]) <= 1e-6 * exact.abs();
        assert!(close || (y.is_nan() && z.is_nan()), "silu({z}) * {u} is {y}");
    }
    for cpu in backends() {
        let whole = swiglu(&cpu, 0..gate.len());
        if cpu.isa() != Isa::Portable {
            assert_same_bits(&whole, &want);
        }
        for block in [1, 15, 17, 8192, 8193] {
            let block = 3 * block;
            for first in [0, 5, 30_001] {
                let end = gate.len().min(first + block);
                assert_same_bits(&swiglu(&cpu, first..end), &whole[first..end]);
            }
        }
    }
}

#[test]
fn scales_of_any_magnitude_are_those_of_the_reference() {
    for scale in [3e38, 1e36, 1e-38, 1e-45, 0.0] {
        let scales = BlockScale { block: [1, 16], values: vec![scale; 3] };
        // From the smallest e4m3 to 1.
        let codes = (1..=0x38).cycle().take(48).collect::<Vec<u8>>();
        let w = Weight::new(Dtype::F8E4m3, [3, 16], codes.into(), Some(scales)).expect("it fits");
        let x: Vec<f32> = (0..30 * 16).map(|i| if i % 17 == 0 { 1.0 } else { 0.0 }).collect();
        let reference = Reference::<f32>::new();
        let want = reference.upload(&x, &[30, 16]).and_then(|x| reference.linear(&x, &w));
        let want = reference.download(&want.expect("it fits")).expect("on the host");
        for cpu in backends() {
            assert_same_bits(&linear(&cpu, &x, 16, &w), &want);
            assert_same_bits(&linear(&cpu, &x[..16], 16, &w), &want[..3]);
        }
    }
}
