//! Gradients of attention on the processor.

mod fastest {
    use latent_mla::kernels::Tolerance;
    use latent_mla::kernels::cpu::Cpu;
    latent_mla::attention_backward_suite!(Cpu::new(), Tolerance::F32);
}

mod portable {
    use latent_mla::kernels::Tolerance;
    use latent_mla::kernels::cpu::{Cpu, Isa};
    latent_mla::attention_backward_suite!(
        Cpu::with(Isa::Portable, 3).expect("any"),
        Tolerance::F32
    );
}

mod in_bf16 {
    use latent_mla::kernels::Tolerance;
    use latent_mla::kernels::cpu::Cpu;
    latent_mla::attention_backward_suite!(Cpu::new().bf16(), Tolerance::BF16);
}
