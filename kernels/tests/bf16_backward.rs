//! Gradients of products in bf16: their definition, bit for bit, and what has them in `f32`.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use half::bf16;
use latent_kernels::cpu::{Bf16Columns, Bf16Product, Cpu, CpuMatrix, Isa, View, add_bf16_products};
use latent_kernels::suite::{Storage, Values, assert_same_bits};
use latent_kernels::{Backend, Backward, Dtype, Weight};

mod fastest {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::backward_suite!(Cpu::new().bf16(), Tolerance::BF16);
}

mod portable {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::{Cpu, Isa};
    latent_kernels::backward_suite!(Cpu::with(Isa::Portable, 3).unwrap().bf16(), Tolerance::BF16);
}

mod beside_emulated_tiles {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::backward_suite!(Cpu::new().on_emulated_tiles().bf16(), Tolerance::BF16);
}

/// Every set that this processor has, on one thread and on three.
fn backends() -> impl Iterator<Item = Cpu> {
    let sets = Isa::detected().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]);
    sets.map(|(isa, threads)| Cpu::with(isa, threads).unwrap().bf16())
}

fn round(v: f32) -> f32 {
    bf16::from_f32(v).to_f32()
}

/// `c + a b` of rounded operands: of each two terms of a sum the second comes first.
fn definition(a: &[f32], b: &[f32], c: &[f32], [m, k, n]: [usize; 3]) -> Vec<f32> {
    let mut all = c.to_vec();
    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
        for pair in (0..k).step_by(2) {
            for t in (pair..k.min(pair + 2)).rev() {
                let sum = &mut all[i * n + j];
                *sum = round(a[i * k + t]).mul_add(round(b[t * n + j]), *sum);
            }
        }
    }
    all
}

fn transposed(x: &[f32], width: usize) -> Vec<f32> {
    let rows = x.len() / width.max(1);
    (0..width).flat_map(|col| (0..rows).map(move |row| x[row * width + col])).collect()
}

/// Holds bits to the definition where a set shares them, values elsewhere.
fn assert_is(got: &[f32], want: &[f32], cpu: &Cpu) {
    // The instruction has bits of its own below the smallest normal number alone.
    if cpu.isa() != Isa::Portable {
        return assert_same_bits(got, want);
    }
    let scale = want.iter().filter(|v| v.is_finite()).fold(1.0_f32, |m, v| m.max(v.abs()));
    for (got, want) in got.iter().zip(want) {
        let close = (got - want).abs() <= 1e-5 * scale;
        assert!(close || !got.is_finite() && !want.is_finite(), "{got} is not {want}");
    }
}

/// Sizes around those of tiles, panels, lines and what is packed at once.
const SIZES: [[usize; 3]; 14] = [
    [0, 3, 5],
    [3, 0, 5],
    [5, 3, 0],
    [1, 1, 1],
    [2, 2, 15],
    [3, 5, 17],
    [7, 31, 16],
    [6, 33, 65],
    [5, 255, 64],
    [13, 257, 33],
    [97, 64, 80],
    [200, 7, 130],
    [17, 1023, 3],
    [9, 1027, 70],
];

#[test]
fn products_are_their_definition_and_are_added_to_what_is_there() {
    for [m, k, n] in SIZES {
        let mut values = Values::new(61);
        let (a, b): (Vec<f32>, Vec<f32>) = (values.draw(m * k), values.draw(k * n));
        let before: Vec<f32> = values.draw(m * n);
        let want = definition(&a, &b, &before, [m, k, n]);
        let columns = transposed(&a, k);
        for cpu in backends() {
            let right = Bf16Columns::new(&cpu, &b, n);
            assert_eq!((right.rows(), right.cols()), if n == 0 { (0, 0) } else { (k, n) });
            for left in [View::rows(&a, k), View::rows(&columns, m).transposed()] {
                let mut c = before.clone();
                let product = Bf16Product { a: left, b: &right, c: &mut c };
                add_bf16_products(&cpu, vec![product]);
                assert_is(&c, &want, &cpu);
            }
        }
    }
}

#[test]
fn products_at_once_are_those_one_by_one() {
    let mut values = Values::new(62);
    let a: Vec<f32> = values.draw(300 * 40);
    let b: [Vec<f32>; 3] = [64, 70, 1].map(|n| values.draw(40 * n));
    for cpu in backends() {
        let right = [0, 1, 2].map(|i: usize| Bf16Columns::new(&cpu, &b[i], b[i].len() / 40));
        let of = |i: usize| View::rows(&a[i * 100 * 40..], 40);
        let mut one_by_one = [0, 1, 2].map(|i: usize| vec![0.0; 100 * right[i].cols()]);
        let mut at_once = one_by_one.clone();
        for (i, c) in one_by_one.iter_mut().enumerate() {
            add_bf16_products(&cpu, vec![Bf16Product { a: of(i), b: &right[i], c }]);
        }
        let products = at_once.iter_mut().enumerate();
        let products = products.map(|(i, c)| Bf16Product { a: of(i), b: &right[i], c }).collect();
        add_bf16_products(&cpu, products);
        at_once.iter().zip(&one_by_one).for_each(|(got, want)| assert_same_bits(got, want));
    }
}

#[test]
fn gradients_are_products_of_rounded_operands() {
    let mut values = Values::new(63);
    // The last are longer than what is packed at once.
    let sizes = [[0, 3, 5], [1, 70, 33], [37, 96, 65], [150, 31, 64], [1100, 5, 33], [3, 1100, 17]];
    for [tokens, out, width] in sizes {
        let (x, dy): (Vec<f32>, Vec<f32>) =
            (values.draw(tokens * width), values.draw(tokens * out));
        let w = Storage { dtype: Dtype::Bf16, block: None }.weight([out, width], &mut values);
        let zeros = [vec![0.0; tokens * width], vec![0.0; out * width]];
        let of_w = w.decode::<f32>();
        let dx = definition(&dy, &of_w, &zeros[0], [tokens, out, width]);
        let across = if tokens == 0 { Vec::new() } else { transposed(&dy, out) };
        let dw = definition(&across, &x, &zeros[1], [out, tokens, width]);
        for cpu in backends() {
            let matrix = cpu.matrix(w.clone()).unwrap();
            let (x, dy) = (cpu.upload(&x, &[tokens, width]), cpu.upload(&dy, &[tokens, out]));
            let (x, dy) = (x.unwrap(), dy.unwrap());
            let got = cpu.linear_grad_input(&dy, &matrix).unwrap();
            assert_is(&cpu.download(&got).unwrap(), &dx, &cpu);
            let got = cpu.linear_grad_weight(&x, &dy, &matrix).unwrap();
            assert_is(&cpu.download(&got).unwrap(), &dw, &cpu);
        }
    }
}

#[test]
fn values_that_are_not_finite_are_those_of_the_definition() {
    let [m, k, n] = [7, 65, 17];
    let mut values = Values::new(64);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0, -0.0] {
        let (mut a, mut b): (Vec<f32>, Vec<f32>) = (values.draw(m * k), values.draw(k * n));
        // The last of an odd number of terms is paired with what is not there.
        a[2 * k + 64] = bad;
        b[64 * n + 3] = bad;
        b[10 * n + 16] = bad;
        let want = definition(&a, &b, &vec![0.0; m * n], [m, k, n]);
        for cpu in backends() {
            let mut c = vec![0.0; m * n];
            let right = Bf16Columns::new(&cpu, &b, n);
            let product = Bf16Product { a: View::rows(&a, k), b: &right, c: &mut c };
            add_bf16_products(&cpu, vec![product]);
            assert_is(&c, &want, &cpu);
        }
    }
}

#[test]
fn other_weights_have_gradients_in_f32() {
    let mut values = Values::new(65);
    let (tokens, out, width) = (30, 64, 128);
    let (x, dy): (Vec<f32>, Vec<f32>) = (values.draw(tokens * width), values.draw(tokens * out));
    let stored = |dtype, block| Storage { dtype, block };
    let of_bf16 = stored(Dtype::Bf16, None).weight([out, width], &mut values);
    let others = [stored(Dtype::F32, None), stored(Dtype::F8E4m3, Some([128, 128]))];
    let others = others.map(|storage| storage.weight([out, width], &mut values));
    let both = |cpu: &Cpu, w: &CpuMatrix| {
        let x = cpu.upload(&x, &[tokens, width]).unwrap();
        let dy = cpu.upload(&dy, &[tokens, out]).unwrap();
        let dx = cpu.linear_grad_input(&dy, w).unwrap();
        let dw = cpu.linear_grad_weight(&x, &dy, w).unwrap();
        [cpu.download(&dx).unwrap(), cpu.download(&dw).unwrap()].concat()
    };
    let (cpu, in_bf16) = (Cpu::new(), Cpu::new().bf16());
    let of = |cpu: &Cpu, w: &Weight| both(cpu, &cpu.matrix(w.clone()).unwrap());
    for w in &others {
        assert_same_bits(&of(&in_bf16, w), &of(&cpu, w));
    }
    // What is to be exact is so on the way back, too; all else is not.
    let exact = in_bf16.exact(of_bf16.clone()).unwrap();
    assert_same_bits(&both(&in_bf16, &exact), &of(&cpu, &of_bf16));
    assert!(of(&in_bf16, &of_bf16) != of(&cpu, &of_bf16), "no operand was rounded");
}

#[test]
#[should_panic(expected = "elements of a")]
fn a_left_side_that_is_too_short_is_refused() {
    let (cpu, mut c) = (Cpu::new(), [0.0; 4]);
    let b = Bf16Columns::new(&cpu, &[1.0; 4], 2);
    let a = View::rows(&[1.0; 3], 2);
    add_bf16_products(&cpu, vec![Bf16Product { a, b: &b, c: &mut c }]);
}

#[test]
#[should_panic(expected = "neighbours in a")]
fn a_left_side_without_neighbours_is_refused() {
    let (cpu, mut c) = (Cpu::new(), [0.0; 4]);
    let b = Bf16Columns::new(&cpu, &[1.0; 4], 2);
    let a = View { values: &[1.0; 9], row: 4, col: 2 };
    add_bf16_products(&cpu, vec![Bf16Product { a, b: &b, c: &mut c }]);
}
