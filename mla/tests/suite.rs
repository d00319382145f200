//! The reference has every property of attention, in both precisions.

mod reference_f64 {
    use latent_mla::kernels::Reference;
    latent_mla::attention_suite!(Reference::<f64>::new(), 1e-10);
}

mod reference_f32 {
    use latent_mla::kernels::Reference;
    latent_mla::attention_suite!(Reference::<f32>::new(), 1e-4);
}
