//! The suite, stamped for the reference.

mod reference_f32 {
    use latent_kernels::{Reference, Tolerance};
    latent_kernels::backend_suite!(Reference::<f32>::new(), Tolerance::F32);
}

mod reference_f64 {
    use latent_kernels::{Reference, Tolerance};
    latent_kernels::backend_suite!(Reference::<f64>::new(), Tolerance::F64);
}

mod gradients_f32 {
    use latent_kernels::{Reference, Tolerance};
    latent_kernels::backward_suite!(Reference::<f32>::new(), Tolerance::F32);
}

mod gradients_f64 {
    use latent_kernels::{Reference, Tolerance};
    latent_kernels::backward_suite!(Reference::<f64>::new(), Tolerance::F64);
}
