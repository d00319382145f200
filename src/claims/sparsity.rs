//! That only the experts that match are computed.

use latent_model::config::{MoeLayout, published};
use latent_model::kernels::cpu::Cpu;
use latent_model::kernels::{Dtype, PairLayout};
use latent_model::mla::{AttentionConfig, GqaConfig, PagedCache, RopeConfig, SequenceId};
use latent_model::moe::{GateConfig, MoeConfig, ScoringFunc, TopkMethod};
use latent_model::{Feed, Form, Model};
use latent_train::initial_weights;

use super::one_layer::{VOCABULARY, one_layer};
use super::{Claim, Finding, Lab, Preset, Verdict, lab, row, timing};
use crate::commands::{CommandError, units};
use crate::report::number;

pub(super) const CLAIM: Claim = Claim {
    name: "sparsity",
    statement: "Only the matching parts are computed",
    published: "37 B of V3's 671 B parameters are used for a token (DeepSeek-V3, abstract)",
    rule: "holds: a token costs at most half of what a dense model of equal total costs, and the loss is below \
           that of one of equal active size; near: the loss is at most 1 % above it",
    find,
};

/// A layer whose experts are of a size that memory, not the way to them, sets their time.
const HIDDEN: usize = 768;
const WIDTH: usize = 384;
const EXPERTS: usize = 32;
const CHOSEN: usize = 3;
const SHARED: usize = 1;

/// The tokens of a prompt.
const PROMPT: usize = 256;

fn find(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let rounds = if lab.preset == Preset::Quick { 15 } else { 60 };
    let names = ["MLA", "dense, equal total", "dense, equal active"];
    let runs = lab.runs(names)?;
    let times = times(&lab.cpu(), rounds)?;
    let mut table = vec![row([
        "feed-forward",
        "parameters",
        "for a token",
        "loss",
        "one token",
        "a prompt's token",
    ])];
    for ((name, variant), [one, prompt]) in names.iter().zip(&runs).zip(&times) {
        let Some(first) = variant.first() else { continue };
        let share = first.active_parameters as f64 / first.total_parameters as f64;
        table.push(row([
            if *name == "MLA" { "experts" } else { name },
            &units::count(first.total_parameters),
            &format!("{} ({:.0} %)", units::count(first.active_parameters), 100.0 * share),
            &number::mean(&lab::losses(variant), 4),
            &timing::shown(*one),
            &timing::shown(*prompt / PROMPT as f64),
        ]));
    }
    let cost = times[0][0] / times[1][0];
    let above = lab::above(&runs[0], &runs[2]).mean().unwrap_or(f64::NAN);
    Ok(Finding {
        verdict: judge(cost, above),
        here: format!(
            "V3 uses {}; here a token costs {cost:.2} of a dense layer of equal total, and the loss is {} that of \
             equal active size, {} that of equal total; {}",
            of_v3(),
            number::compared(above),
            number::compared(lab::above(&runs[0], &runs[1]).mean().unwrap_or(f64::NAN)),
            lab::said(&runs[0])
        ),
        table,
    })
}

fn judge(cost: f64, above: f64) -> Verdict {
    Verdict::by(cost <= 0.5 && above < 0.0, cost <= 0.5 && above <= 0.01)
}

fn of_v3() -> String {
    let all = published();
    let v3 = all.iter().find(|(name, _)| *name == "deepseek-v3");
    v3.map_or(String::new(), |(_, config)| {
        let (active, total) = (config.active_parameters(), config.total_parameters());
        let share = 100.0 * active as f64 / total as f64;
        format!("{} of {} ({share:.1} %)", units::count(active), units::count(total))
    })
}

/// Seconds of one token and of a prompt: with experts, dense of equal total, dense of equal active size.
fn times(cpu: &Cpu, rounds: usize) -> Result<[[f64; 2]; 3], CommandError> {
    let used = (CHOSEN + SHARED) * WIDTH;
    let all = (EXPERTS + SHARED) * WIDTH;
    let mut layers = [
        Layer::new(cpu, Some(experts()), used)?,
        Layer::new(cpu, None, all)?,
        Layer::new(cpu, None, used)?,
    ];
    let prompt: Vec<u32> = (0..VOCABULARY).cycle().take(PROMPT).collect();
    let each = timing::medians(rounds, 3, |i| layers[i].run(&prompt[..1]))?;
    let whole = timing::medians(rounds.div_ceil(5), 3, |i| layers[i].run(&prompt))?;
    Ok([0, 1, 2].map(|i| [each[i], whole[i]]))
}

fn experts() -> MoeLayout {
    let gate = GateConfig {
        n_routed_experts: EXPERTS,
        num_experts_per_tok: CHOSEN,
        scoring_func: ScoringFunc::Sigmoid,
        topk_method: TopkMethod::NoauxTc { n_group: 1, topk_group: 1 },
        norm_topk_prob: true,
        routed_scaling_factor: 1.0,
    };
    let config = MoeConfig {
        hidden_size: HIDDEN,
        moe_intermediate_size: WIDTH,
        n_shared_experts: SHARED,
        gate,
    };
    MoeLayout { config, first_k_dense_replace: 0, moe_layer_freq: 1 }
}

/// A model of one layer with next to nothing beside its feed-forward.
struct Layer {
    model: Model<Cpu>,
    cache: PagedCache<Cpu>,
    sequence: SequenceId,
}

impl Layer {
    fn new(
        cpu: &Cpu,
        moe: Option<MoeLayout>,
        intermediate_size: usize,
    ) -> Result<Self, CommandError> {
        let rope = RopeConfig { theta: 10_000.0, yarn: None, layout: PairLayout::HalfSplit };
        let attention = AttentionConfig::Grouped(GqaConfig {
            hidden_size: HIDDEN,
            num_attention_heads: 1,
            num_key_value_heads: 1,
            head_dim: 2,
            rope,
        });
        let config = one_layer(attention, moe, intermediate_size);
        let model = initial_weights(&config, 0.02, 0).model(cpu.clone(), &config, Dtype::Bf16)?;
        let mut cache = model.cache(PROMPT)?;
        let sequence = cache.new_sequence();
        Ok(Self { model, cache, sequence })
    }

    fn run(&mut self, tokens: &[u32]) -> Result<(), CommandError> {
        let feed = Feed { sequence: self.sequence, tokens };
        self.model.forward(&mut self.cache, &[feed], Form::Absorbed, &mut ())?;
        self.cache.truncate(self.sequence, 0)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    #[test]
    fn the_verdict_is_by_the_rule() {
        assert_eq!(judge(0.5, -0.001), Verdict::Holds);
        assert_eq!(judge(0.5, 0.0), Verdict::Near);
        assert_eq!(judge(0.51, -0.1), Verdict::Fails);
        assert_eq!(judge(0.1, 0.02), Verdict::Fails);
        assert_eq!(judge(0.1, f64::NAN), Verdict::Fails);
    }
}
