//! The reference holds to the suite, in both scalars.

mod reference_f32 {
    use latent_moe::kernels::{Reference, Tolerance};
    latent_moe::experts_suite!(Reference::<f32>::new(), Tolerance::F32);
}

mod reference_f64 {
    use latent_moe::kernels::{Reference, Tolerance};
    latent_moe::experts_suite!(Reference::<f64>::new(), Tolerance::F64);
}

mod gradients_f32 {
    use latent_moe::kernels::{Reference, Tolerance};
    latent_moe::experts_backward_suite!(Reference::<f32>::new(), Tolerance::F32);
}

mod gradients_f64 {
    use latent_moe::kernels::{Reference, Tolerance};
    latent_moe::experts_backward_suite!(Reference::<f64>::new(), Tolerance::F64);
}
