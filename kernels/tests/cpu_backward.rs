//! Gradients on the processor: the suite, and what holds for this backend alone.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use latent_kernels::cpu::{Cpu, Isa, View, add_matmul};
use latent_kernels::suite::{Values, assert_same_bits, upload, wide};
use latent_kernels::{
    Backend, Backward, Dtype, KernelError, Reference, Tolerance, Weight, compare,
};

mod fastest {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::Cpu;
    latent_kernels::backward_suite!(Cpu::new(), Tolerance::F32);
}

mod portable {
    use latent_kernels::Tolerance;
    use latent_kernels::cpu::{Cpu, Isa};
    latent_kernels::backward_suite!(Cpu::with(Isa::Portable, 3).unwrap(), Tolerance::F32);
}

fn backends() -> impl Iterator<Item = Cpu> {
    let sets = Isa::detected().into_iter().flat_map(|isa| [(isa, 1), (isa, 3)]);
    sets.map(|(isa, threads)| Cpu::with(isa, threads).unwrap())
}

/// Sizes around those of tiles, panels and what is packed at once.
const SIZES: [[usize; 3]; 9] = [
    [0, 3, 5],
    [3, 0, 5],
    [1, 1, 1],
    [7, 511, 16],
    [6, 513, 65],
    [5, 2, 64],
    [13, 1030, 33],
    [50, 17, 130],
    [2, 3, 15],
];

#[test]
fn products_are_added_to_what_is_there_and_touch_nothing_else() {
    for [m, k, n] in SIZES {
        for transposed in [false, true] {
            let mut values = Values::new(5);
            let (a, b): (Vec<f32>, Vec<f32>) = (values.draw(m * k), values.draw(k * n));
            let before: Vec<f32> = values.draw(m * n);
            let (b_row, c_row) = (n + 3, n + 2);
            let mut padded = vec![f32::NAN; k * b_row];
            for i in 0..k {
                padded[i * b_row..][..n].copy_from_slice(&b[i * n..][..n]);
            }
            let mut want = Vec::new();
            for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                let terms = (0..k).map(|t| f64::from(a[i * k + t]) * f64::from(b[t * n + j]));
                want.push(f64::from(before[i * n + j]) + terms.sum::<f64>());
            }
            let columns: Vec<f32> =
                (0..k * m).map(|i| a[i % m.max(1) * k + i / m.max(1)]).collect();
            let view =
                if transposed { View::rows(&columns, m).transposed() } else { View::rows(&a, k) };
            let mut first: Option<Vec<f32>> = None;
            for cpu in backends() {
                let mut c = vec![f32::NAN; m * c_row];
                for i in 0..m {
                    c[i * c_row..][..n].copy_from_slice(&before[i * n..][..n]);
                }
                add_matmul(&cpu, view, (&padded, b_row), (&mut c, c_row), [m, k, n]);
                assert!((0..m).all(|i| c[i * c_row + n..][..2].iter().all(|v| v.is_nan())));
                let got: Vec<f32> = (0..m).flat_map(|i| c[i * c_row..][..n].to_vec()).collect();
                let tolerance = Tolerance { atol: 1e-4, rtol: 1e-5 };
                assert_eq!(compare(&got, &want, tolerance), Ok(()), "{m} {k} {n} {}", cpu.isa());
                if cpu.isa() != Isa::Portable {
                    assert_same_bits(first.get_or_insert_with(|| got.clone()), &got);
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "elements of b")]
fn an_operand_that_is_too_short_is_refused() {
    let mut c = [0.0; 4];
    add_matmul(&Cpu::new(), View::rows(&[1.0; 4], 2), (&[1.0; 3], 2), (&mut c, 2), [2, 2, 2]);
}

#[test]
fn threads_and_instructions_change_no_bit() {
    let mut values = Values::new(8);
    let (tokens, out, width) = (150, 70, 65);
    let (x, dy): (Vec<f64>, Vec<f64>) = (values.draw(tokens * width), values.draw(tokens * out));
    let (up, gain): (Vec<f64>, Vec<f64>) = (values.draw(tokens * width), values.draw(width));
    let w = Weight::encode(Dtype::F32, [out, width], &values.draw::<f32>(out * width)).unwrap();
    let all = |cpu: &Cpu| {
        let part = |v: &[f64], width| upload(cpu, v, &[v.len() / width, width]);
        let (x, dy, up) = (part(&x, width), part(&dy, out), part(&up, width));
        let w = cpu.matrix(w.clone()).unwrap();
        let gain = upload(cpu, &gain, &[width]);
        let (dx, d_gain) = cpu.rms_norm_backward(&x, &gain, 1e-6, &up).unwrap();
        let (d_gate, d_up) = cpu.swiglu_backward(&x, &up, &up).unwrap();
        let scales: Vec<f64> = (0..150).map(|row| 0.5 - 0.01 * f64::from(row)).collect();
        let (_, d_logits) = cpu.cross_entropy(&x, &[64; 150], &scales).unwrap();
        let parts = [
            cpu.linear_grad_input(&dy, &w).unwrap(),
            cpu.linear_grad_weight(&x, &dy, &w).unwrap(),
            dx,
            d_gain,
            d_gate,
            d_up,
            d_logits,
        ];
        parts.iter().flat_map(|p| cpu.download(p).unwrap()).collect::<Vec<f32>>()
    };
    let want = all(&Cpu::new());
    for cpu in backends().filter(|cpu| cpu.isa() != Isa::Portable) {
        assert_same_bits(&all(&cpu), &want);
    }
    let portable = |threads| all(&Cpu::with(Isa::Portable, threads).unwrap());
    assert_same_bits(&portable(1), &portable(3));
}

#[test]
fn gains_of_many_rows_follow_the_reference() {
    let (tokens, width) = (150, 65);
    let mut values = Values::new(9);
    let (x, dy): (Vec<f64>, Vec<f64>) = (values.draw(tokens * width), values.draw(tokens * width));
    let gain: Vec<f64> = values.draw(width);
    fn back<B: Backward>(b: &B, [x, gain, dy]: [&[f64]; 3]) -> Vec<f64> {
        let width = gain.len();
        let rows = |v: &[f64]| upload(b, v, &[v.len() / width, width]);
        let gain = upload(b, gain, &[width]);
        let (_, d_gain) = b.rms_norm_backward(&rows(x), &gain, 1e-6, &rows(dy)).unwrap();
        wide(&b.download(&d_gain).unwrap())
    }
    let want = back(&Reference::<f64>::new(), [&x, &gain, &dy]);
    for cpu in backends() {
        let tolerance = Tolerance { atol: 1e-4, rtol: 1e-5 };
        assert_eq!(compare(&back(&cpu, [&x, &gain, &dy]), &want, tolerance), Ok(()));
    }
}

#[test]
fn weights_in_8_bits_have_no_gradient() {
    let cpu = Cpu::new().int8();
    let w = cpu.matrix(Weight::encode(Dtype::F32, [1, 2], &[1.0_f32, 2.0]).unwrap()).unwrap();
    let result = cpu.linear_grad_input(&cpu.upload(&[1.0], &[1, 1]).unwrap(), &w);
    assert!(matches!(result, Err(KernelError::Setting { .. })), "{result:?}");
}
