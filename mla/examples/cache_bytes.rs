//! What one prompt costs in each kind of attention at the sizes of DeepSeek-V3, in 32-bit elements.

#![expect(clippy::print_stdout, reason = "an example that shows its result")]

use latent_mla::kernels::{PairLayout, Reference};
use latent_mla::{AttentionConfig, GqaConfig, MlaConfig, MlaError, PagedCache, RopeConfig};

fn main() -> Result<(), MlaError> {
    let rope = RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::Interleaved };
    let (hidden_size, num_attention_heads, head_dim) = (7168, 128, 128);
    let grouped = |num_key_value_heads| {
        let sizes =
            GqaConfig { hidden_size, num_attention_heads, num_key_value_heads, head_dim, rope };
        AttentionConfig::Grouped(sizes)
    };
    let latent = AttentionConfig::Latent(MlaConfig {
        hidden_size,
        num_attention_heads,
        q_lora_rank: Some(1536),
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        rope,
    });
    println!("kind  bytes/token  after 100 tokens, one layer");
    for (kind, config) in
        [("MHA", grouped(128)), ("GQA", grouped(8)), ("MQA", grouped(1)), ("MLA", latent)]
    {
        let mut cache = PagedCache::new(Reference::<f32>::new(), &[config], 128)?;
        let prompt = cache.new_sequence();
        let step = cache.begin(&[(prompt, 100)])?;
        cache.commit(step)?;
        println!("{kind:<4}  {:>11}  {:>10}", cache.bytes_per_token(), cache.bytes());
    }
    Ok(())
}
