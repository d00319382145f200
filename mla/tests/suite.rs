//! The reference holds to the suite, in both scalars.

mod reference_f32 {
    use latent_mla::kernels::{Reference, Tolerance};
    latent_mla::attention_suite!(Reference::<f32>::new(), Tolerance::F32);
}

mod reference_f64 {
    use latent_mla::kernels::{Reference, Tolerance};
    latent_mla::attention_suite!(Reference::<f64>::new(), Tolerance::F64);
}

mod gradients_f32 {
    use latent_mla::kernels::{Reference, Tolerance};
    latent_mla::attention_backward_suite!(Reference::<f32>::new(), Tolerance::F32);
}

mod gradients_f64 {
    use latent_mla::kernels::{Reference, Tolerance};
    latent_mla::attention_backward_suite!(Reference::<f64>::new(), Tolerance::F64);
}
