//! Gradients of gate and experts on the processor.

mod fastest {
    use latent_moe::kernels::Tolerance;
    use latent_moe::kernels::cpu::Cpu;
    latent_moe::experts_backward_suite!(Cpu::new(), Tolerance::F32);
}

mod portable {
    use latent_moe::kernels::Tolerance;
    use latent_moe::kernels::cpu::{Cpu, Isa};
    latent_moe::experts_backward_suite!(Cpu::with(Isa::Portable, 3).expect("any"), Tolerance::F32);
}
