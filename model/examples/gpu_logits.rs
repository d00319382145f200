//! The logits behind some ids on a GPU and by the reference: `gpu_logits conformance/v3 5,17,200`.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::path::Path;

use latent_model::kernels::gpu::{DeviceChoice, Gpu};
use latent_model::kernels::{Backend, Reference, Scalar, max_difference};
use latent_model::mla::Attend;
use latent_model::moe::Experts;
use latent_model::{Feed, Form, LoadOptions, Model, ModelError};

fn logits<B: Attend + Experts>(
    backend: B,
    dir: &Path,
    tokens: &[u32],
) -> Result<Vec<f64>, ModelError> {
    let (model, _) = Model::load(backend, dir, &LoadOptions::default())?;
    let mut cache = model.cache(tokens.len())?;
    let feed = Feed { sequence: cache.new_sequence(), tokens };
    let hidden = model.forward(&mut cache, &[feed], Form::Absorbed, &mut ())?;
    let logits = model.backend().download(&model.logits(&hidden)?)?;
    Ok(logits.into_iter().map(Scalar::as_f64).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, ids] = &args[..] else { return Err("usage: gpu_logits DIR 1,2,3".into()) };
    let tokens: Vec<u32> = ids.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let gpu = Gpu::open(DeviceChoice::First)?;
    let want = logits(Reference::<f64>::new(), dir.as_ref(), &tokens)?;
    let got = logits(gpu.clone(), dir.as_ref(), &tokens)?;
    println!("{}: the largest difference is {:e}", gpu.name(), max_difference(&got, &want));
    Ok(())
}
