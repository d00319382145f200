//! That a latent need not be decompressed to be attended to.

use latent_mla::{
    AttentionConfig, CacheFormat, GqaConfig, MlaConfig, PagedCache, RopeConfig, SequenceId,
};
use latent_model::kernels::cpu::Cpu;
use latent_model::kernels::{Backend, Dtype, PairLayout};
use latent_model::{Feed, Form, Model};
use latent_train::initial_weights;

use super::one_layer::one_layer;
use super::{Claim, Finding, Lab, Preset, Verdict, row, timing};
use crate::commands::{CommandError, units};

pub(super) const CLAIM: Claim = Claim {
    name: "decompression",
    statement: "A word's latent is decompressed quickly",
    published: "W_UK goes into W_Q and W_UV into W_O: keys and values are never made (DeepSeek-V2, 2.1.2)",
    rule: "holds: behind the longest context absorbed takes a tenth of expanded, and no longer than MHA; near: twice",
    find,
};

/// The attention of V2-Lite.
const HIDDEN: usize = 2048;
const HEADS: usize = 16;

/// How many tokens are written to a cache at once.
const CHUNK: usize = 512;

fn find(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let (contexts, rounds): (&[usize], usize) = match lab.preset {
        Preset::Quick => (&[512, 2048, 8192], 5),
        Preset::Full => (&[512, 2048, 8192, 32_768], 15),
    };
    let cpu = lab.cpu();
    let [mla, mha] = kinds();
    let mut table =
        vec![row(["context", "MLA, absorbed", "MLA, expanded", "MHA", "cache of MLA", "of MHA"])];
    let mut last = [f64::INFINITY; 2];
    for &context in contexts {
        let mut latent = Context::new(&cpu, &mla, context, rounds)?;
        let mut full = Context::new(&cpu, &mha, context, rounds)?;
        // Expanded makes keys and values of the whole context in every step.
        let times = timing::medians(rounds, 3, |work| match work {
            0 => latent.decode(Form::Absorbed),
            1 => latent.decode(Form::Expanded),
            _ => full.decode(Form::Absorbed),
        })?;
        last = [times[0] / times[1], times[0] / times[2]];
        table.push(row([
            &units::grouped(context as u64),
            &timing::shown(times[0]),
            &timing::shown(times[1]),
            &timing::shown(times[2]),
            &units::bytes(latent.cache.bytes() as u64),
            &units::bytes(full.cache.bytes() as u64),
        ]));
    }
    let [expanded, mha] = last;
    Ok(Finding {
        verdict: judge(expanded, mha),
        here: format!(
            "behind {} tokens a step of a layer of V2-Lite takes {:.3} of the expanded form's time and {:.2} \
             of that of MHA with a cache of its own",
            units::grouped(contexts.last().copied().unwrap_or(0) as u64),
            expanded,
            mha
        ),
        table,
    })
}

fn judge(of_expanded: f64, of_mha: f64) -> Verdict {
    Verdict::by(of_expanded <= 0.1 && of_mha <= 1.0, of_expanded <= 0.2 && of_mha <= 2.0)
}

fn kinds() -> [AttentionConfig; 2] {
    let rope = |layout| RopeConfig { theta: 10_000.0, yarn: None, layout };
    let latent = MlaConfig {
        hidden_size: HIDDEN,
        num_attention_heads: HEADS,
        q_lora_rank: None,
        kv_lora_rank: 512,
        qk_nope_head_dim: 128,
        qk_rope_head_dim: 64,
        v_head_dim: 128,
        rope: rope(PairLayout::Interleaved),
    };
    let grouped = GqaConfig {
        hidden_size: HIDDEN,
        num_attention_heads: HEADS,
        num_key_value_heads: HEADS,
        head_dim: 128,
        rope: rope(PairLayout::HalfSplit),
    };
    [AttentionConfig::Latent(latent), AttentionConfig::Grouped(grouped)]
}

/// A layer with random weights behind a context of random rows.
struct Context {
    model: Model<Cpu>,
    cache: PagedCache<Cpu>,
    sequence: SequenceId,
}

impl Context {
    /// `steps` says how often each of two forms is to be decoded in.
    fn new(
        cpu: &Cpu,
        attention: &AttentionConfig,
        tokens: usize,
        steps: usize,
    ) -> Result<Self, CommandError> {
        let config = one_layer(attention.clone(), None, 16);
        let weights = initial_weights(&config, 0.02, 0);
        let model = weights.model(cpu.clone(), &config, Dtype::Bf16)?;
        let mut cache = model.cache_in(CacheFormat::Bf16, tokens + 2 * (steps + 1))?;
        let sequence = cache.new_sequence();
        let width = attention.cached_elements();
        // Any numbers do, as long as they are spread like those of a norm's output.
        let row = |i: usize| ((i * 7919) % 2003) as f32 / 1001.0 - 1.0;
        let rows: Vec<f32> = (0..CHUNK * width).map(row).collect();
        let rows = cpu.upload(&rows, &[CHUNK, width])?;
        for _ in 0..tokens / CHUNK {
            let step = cache.begin(&[(sequence, CHUNK)])?;
            cache.write(&step, 0, &rows)?;
            cache.commit(step)?;
        }
        Ok(Self { model, cache, sequence })
    }

    fn decode(&mut self, form: Form) -> Result<(), CommandError> {
        let feed = Feed { sequence: self.sequence, tokens: &[1] };
        self.model.forward(&mut self.cache, &[feed], form, &mut ())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    #[test]
    fn the_verdict_is_by_the_rule() {
        assert_eq!(judge(0.1, 1.0), Verdict::Holds);
        assert_eq!(judge(0.11, 0.5), Verdict::Near);
        assert_eq!(judge(0.05, 1.1), Verdict::Near);
        assert_eq!(judge(0.21, 0.5), Verdict::Fails);
        assert_eq!(judge(0.05, 2.1), Verdict::Fails);
        assert_eq!(judge(f64::INFINITY, f64::INFINITY), Verdict::Fails);
    }
}
