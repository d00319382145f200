//! That experts find subjects by themselves.

use super::{Claim, Finding, Lab, Verdict, lab, row};
use crate::commands::CommandError;
use crate::report::Sample;

pub(super) const CLAIM: Claim = Claim {
    name: "subjects",
    statement: "The network finds the experts' subjects by itself",
    published: "experts of a router with biases differ more by the kind of text (DeepSeek-V3, figure 9)",
    rule: "holds: an expert says at least twice as much of the kind of text as that of a random router; near: more",
    find,
};

fn find(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let names = ["MLA", "auxiliary loss", "no balancing"];
    let runs = lab.runs(names)?;
    let mut table = vec![row([
        "router",
        "bits of the kind, trained",
        "first weights",
        "dealt out at random",
        "subject of the first layer's experts",
    ])];
    let mut shares = Vec::new();
    for (name, variant) in names.iter().zip(&runs) {
        let of = |part: fn(&latent_train::ablation::RoutingResult) -> f64| -> f64 {
            let sample: Sample =
                variant.iter().filter_map(|run| run.routing.as_ref().map(part)).collect();
            sample.mean().unwrap_or(f64::NAN)
        };
        let bits = [of(|r| r.mutual_information), of(|r| r.untrained), of(|r| r.shuffled)];
        let router = if *name == "MLA" { "biases (V3)" } else { name };
        table.push(row([
            router,
            &format!("{:.4}", bits[0]),
            &format!("{:.4}", bits[1]),
            &format!("{:.4}", bits[2]),
            &variant.first().map_or(String::new(), subjects),
        ]));
        shares.push(bits);
    }
    let [trained, untrained, shuffled] = shares[0];
    Ok(Finding {
        verdict: judge(trained, untrained.max(shuffled)),
        here: format!(
            "{trained:.3} bits of the kind of text, {untrained:.3} by a random router and {shuffled:.4} by \
             chance; {}",
            lab::said(&runs[0])
        ),
        table,
    })
}

fn judge(trained: f64, random: f64) -> Verdict {
    Verdict::by(trained > 0.0 && trained >= 2.0 * random, trained > random)
}

/// The kinds of text that some expert of the first layer gets most above its share of them.
fn subjects(run: &latent_train::ablation::RunResult) -> String {
    let Some(routing) = &run.routing else { return String::new() };
    let Some(rows) = routing.trained.layers.values().next() else { return String::new() };
    let total: u64 = rows.iter().flatten().sum();
    let experts = rows.iter().map(Vec::len).max().unwrap_or(0);
    let load = |expert: usize| rows.iter().filter_map(|row| row.get(expert)).sum::<u64>();
    let mut lifts: Vec<(f64, String)> = Vec::new();
    for (kind, counts) in routing.trained.kinds.iter().zip(rows) {
        let share = counts.iter().sum::<u64>() as f64 / total.max(1) as f64;
        let lift = |expert: usize| {
            let all = load(expert).max(1) as f64;
            counts.get(expert).copied().unwrap_or(0) as f64 / all / share
        };
        let best = (0..experts).map(lift).fold(0.0, f64::max);
        lifts.push((best, format!("{kind} x{best:.1}")));
    }
    lifts.sort_by(|a, b| b.0.total_cmp(&a.0));
    let best: Vec<String> = lifts.into_iter().take(2).map(|(_, text)| text).collect();
    best.join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    #[test]
    fn the_verdict_is_by_the_rule() {
        assert_eq!(judge(0.2, 0.1), Verdict::Holds);
        assert_eq!(judge(0.19, 0.1), Verdict::Near);
        assert_eq!(judge(0.1, 0.1), Verdict::Fails);
        assert_eq!(judge(0.0, 0.0), Verdict::Fails, "nothing is not twice as much as nothing");
        assert_eq!(judge(f64::NAN, 0.1), Verdict::Fails);
    }
}
