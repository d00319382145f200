//! Writes random weights in a published model's shape, to try sizes without a download:
//! `random_checkpoint deepseek-v2-lite DIR 2 8192 bf16`.

use latent_model::checkpoint::random::{RandomDtype, write};
use latent_model::config::{Quantization, published};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, dir, layers, vocab, dtype] = &args[..] else {
        return Err("usage: random_checkpoint NAME DIR LAYERS VOCAB bf16|fp8".into());
    };
    let found = published().into_iter().find(|(known, _)| known == name);
    let (_, mut config) = found.ok_or_else(|| format!("no published model {name}"))?;
    config.num_hidden_layers = layers.parse()?;
    config.num_nextn_predict_layers = 0;
    config.vocab_size = vocab.parse()?;
    let block = [128, 128];
    let random = match dtype.as_str() {
        "bf16" => RandomDtype::Bf16,
        "fp8" => RandomDtype::Fp8 { block },
        other => return Err(format!("dtype {other}, want bf16 or fp8").into()),
    };
    config.quantization = (dtype == "fp8").then_some(Quantization::Fp8 { block });
    config.validate()?;
    std::fs::create_dir_all(dir)?;
    write(dir.as_ref(), &config.tensors(), 0, random, 4 << 30)?;
    std::fs::write(format!("{dir}/config.json"), config.to_json()?)?;
    Ok(())
}
