//! The likeliest next tokens behind some ids, in both forms of attention:
//! `next_token conformance/v3 5,17,200`.
#![expect(clippy::print_stdout, reason = "an example prints its result")]

use latent_model::kernels::{Backend, Reference};
use latent_model::{Feed, Form, LoadOptions, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, ids] = &args[..] else { return Err("usage: next_token DIR 1,2,3".into()) };
    let tokens: Vec<u32> = ids.split(',').map(str::parse).collect::<Result<_, _>>()?;
    let (model, _) = Model::load(Reference::<f64>::new(), dir.as_ref(), &LoadOptions::default())?;
    let mut cache = model.cache(128)?;
    for form in [Form::Expanded, Form::Absorbed] {
        let sequence = cache.new_sequence();
        let feed = Feed { sequence, tokens: &tokens };
        let hidden = model.forward(&mut cache, &[feed], form, &mut ())?;
        let last = model.backend().select_rows(&hidden, &[tokens.len() - 1])?;
        let logits = model.backend().download(&model.logits(&last)?)?;
        let mut ranked: Vec<usize> = (0..logits.len()).collect();
        ranked.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        println!("{form:?}");
        for &id in &ranked[..5] {
            println!("  {id:6} {:+.12}", logits[id]);
        }
    }
    Ok(())
}
