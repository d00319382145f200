//! Attention in bf16 on tiles, emulated ones where the processor has none.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod case;

use latent_mla::kernels::cpu::{Cpu, Isa};
use latent_mla::kernels::suite::assert_same_bits;
use latent_mla::kernels::{Backend, Reference};

use case::{Case, EDGES, attend, attend_expanded, latent};

#[test]
fn quick() {
    let cpu = Cpu::with(Isa::Amx, 2).unwrap().bf16();
    let emulated = Cpu::with(Isa::Avx2, 1).unwrap().on_emulated_tiles().bf16();
    for (heads, rank) in [(3, 36), (16, 128), (40, 16)] {
        let case = Case::new(&EDGES, rank + 6);
        let layout = latent(rank, 6);
        let want = attend(&Reference::<f64>::new(), &case, layout, heads);
        let got = attend(&cpu, &case, layout, heads);
        let worst =
            got.iter().zip(&want).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
        let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
        println!("{heads} {rank}: {}", worst / scale);
        assert!(worst / scale < 1e-2);
        let same = attend(&emulated, &case, layout, heads);
        assert_same_bits(&got, &same);
    }
    let (dims, weight, case) = case::published();
    let want = attend_expanded(&Reference::<f64>::new(), &case, &weight, dims);
    let got = attend_expanded(&cpu, &case, &weight, dims);
    let worst = got.iter().zip(&want).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
    let scale = want.iter().fold(0.0_f64, |m, v| m.max(v.abs()));
    println!("expanded: {}", worst / scale);
    assert_same_bits(&got, &attend_expanded(&emulated, &case, &weight, dims));
    let _ = cpu.name();
}
