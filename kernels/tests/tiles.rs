//! Products on tiles, emulated ones where the processor has none: the same kernels run on both.

use latent_kernels::cpu::{Cpu, Isa};
use latent_kernels::suite::{Values, assert_same_bits};
use latent_kernels::{Backend, Dtype, Weight};

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
