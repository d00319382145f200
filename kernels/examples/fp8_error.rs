//! How far a linear map strays when its weight is stored in fewer bits, and what block scales do.
//!
//! `cargo run -p latent-kernels --example fp8_error`
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use latent_kernels::{Backend, Dtype, KernelError, Reference, Weight};

fn main() -> Result<(), KernelError> {
    let (cpu, [out, width]) = (Reference::<f64>::new(), [256, 512]);
    // Scattered over ±1; the weights are as small as trained ones.
    let scatter = |i: usize| (i as f64 * i as f64 * 0.618_034).sin();
    let x: Vec<f64> = (0..4 * width).map(scatter).collect();
    let values: Vec<f64> = (0..out * width).map(|i| 0.02 * scatter(i + 7)).collect();

    let x = cpu.upload(&x, &[4, width])?;
    let run = |w: &Weight| cpu.download(&cpu.linear(&x, &cpu.matrix(w.clone())?)?);
    let exact = run(&Weight::encode(Dtype::F64, [out, width], &values)?)?;
    let length = |y: &[f64]| y.iter().map(|v| v * v).sum::<f64>().sqrt();
    for (name, w) in [
        ("F32", Weight::encode(Dtype::F32, [out, width], &values)?),
        ("BF16", Weight::encode(Dtype::Bf16, [out, width], &values)?),
        ("F8_E4M3, no scales", Weight::encode(Dtype::F8E4m3, [out, width], &values)?),
        ("F8_E4M3, 128 x 128", Weight::quantize_e4m3([out, width], &values, [128, 128])?),
    ] {
        let error: Vec<f64> = run(&w)?.iter().zip(&exact).map(|(y, e)| y - e).collect();
        let (bytes, relative) = (w.stored_bytes(), length(&error) / length(&exact));
        println!("{name:<18} {bytes:>7} bytes, relative error {relative:.1e}");
    }
    Ok(())
}
