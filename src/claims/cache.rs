//! That a latent takes less memory than keys and values.

use latent_mla::{AttentionConfig, CacheFormat, GqaConfig, MlaConfig, PagedCache};
use latent_model::config::{ModelConfig, published};
use latent_model::kernels::Backend;
use latent_model::mla::Attend;

use super::{Claim, Finding, Lab, Verdict, row};
use crate::commands::{CommandError, kv, units};

pub(super) const CLAIM: Claim = Claim {
    name: "compression",
    statement: "Compression saves cache memory",
    published: "93.3 % less cache than DeepSeek 67B (DeepSeek-V2, abstract); 9/2 of 2 n_h widths of a head (table 1)",
    rule: "holds: the published sizes give 93.3 %, and a running cache of V2's MLA has 4.5 / 256 = 1.76 % of the \
           bytes of MHA's",
    find,
};

/// Whole pages, so that none is half empty.
const TOKENS: usize = 1024;

fn find(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let all = published();
    let v2 = all.iter().find(|(name, _)| *name == "deepseek-v2").map(|(_, config)| config);
    let Some((ModelConfig { attention: AttentionConfig::Latent(mla), .. }, saved)) =
        v2.zip(kv::published_saving())
    else {
        return Err(CommandError::Failed("deepseek-v2 is not embedded".into()));
    };
    let cpu = lab.cpu();
    let mut table =
        vec![row(["cache of a layer of V2", "bytes a token", "of MHA", "1,024 tokens"])];
    let mut shares = Vec::new();
    let mut first = 0;
    for (name, config, format) in kinds(mla) {
        let bytes = running(&cpu, &config, format)?;
        first = first.max(bytes);
        let share = bytes as f64 / first as f64;
        shares.push(share);
        table.push(row([
            name,
            &units::grouped((bytes / TOKENS) as u64),
            &format!("{:.2} %", 100.0 * share),
            &units::bytes(bytes as u64),
        ]));
    }
    let share = shares[3];
    let right = (saved - 93.3).abs() < 0.05 && (share - 4.5 / 256.0).abs() < 5e-5;
    Ok(Finding {
        verdict: Verdict::by(right, false),
        here: format!(
            "{saved:.2} % by the published sizes (latent kv takes it apart); in a running cache MLA has \
             {:.2} % of MHA's bytes, in FP8 {:.2} %",
            100.0 * share,
            100.0 * shares[4]
        ),
        table,
    })
}

/// The kinds of attention with V2's heads, each as wide as a value of V2.
fn kinds(mla: &MlaConfig) -> [(&'static str, AttentionConfig, CacheFormat); 5] {
    let grouped = |num_key_value_heads| {
        AttentionConfig::Grouped(GqaConfig {
            hidden_size: mla.hidden_size,
            num_attention_heads: mla.num_attention_heads,
            num_key_value_heads,
            head_dim: mla.v_head_dim,
            rope: mla.rope,
        })
    };
    let latent = AttentionConfig::Latent(mla.clone());
    [
        ("MHA", grouped(mla.num_attention_heads), CacheFormat::Bf16),
        ("GQA, 8 groups", grouped(8), CacheFormat::Bf16),
        ("MQA", grouped(1), CacheFormat::Bf16),
        ("MLA", latent.clone(), CacheFormat::Bf16),
        ("MLA, FP8", latent, CacheFormat::Fp8),
    ]
}

/// The bytes of a cache that holds [`TOKENS`] tokens.
fn running<B: Attend + Backend>(
    backend: &B,
    config: &AttentionConfig,
    format: CacheFormat,
) -> Result<usize, CommandError> {
    let layers = [config.clone()];
    let mut cache = PagedCache::with_format(backend.clone(), &layers, TOKENS, format)?;
    let sequence = cache.new_sequence();
    let step = cache.begin(&[(sequence, TOKENS)])?;
    cache.commit(step)?;
    Ok(cache.bytes())
}
