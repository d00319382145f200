//! That compression costs little quality.

use latent_train::ablation::RunResult;

use super::{Claim, Finding, Lab, Verdict, lab, row};
use crate::commands::{CommandError, units};
use crate::report::number;

pub(super) const CLAIM: Claim = Claim {
    name: "quality",
    statement: "It costs little quality",
    published: "MLA is better than MHA, and MHA better than GQA and MQA (DeepSeek-V2, tables 8 and 9)",
    rule: "holds: with as many parameters MLA's loss is at most 1 % above MHA's; near: 3 %",
    find,
};

fn find(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let names = ["MLA", "MHA", "GQA", "MQA"];
    let runs = lab.runs(names)?;
    let [mla, mha, ..] = &runs;
    let mut table =
        vec![row(["attention", "parameters", "cache bytes a token", "loss", "MLA's to it"])];
    for (name, variant) in names.iter().zip(&runs) {
        let Some(first) = variant.first() else { continue };
        table.push(row([
            name,
            &units::count(first.total_parameters),
            &units::grouped(first.cache_bytes_per_token),
            &number::mean(&lab::losses(variant), 4),
            &above(mla, variant),
        ]));
    }
    let share = lab::above(mla, mha).mean().unwrap_or(f64::NAN);
    Ok(Finding {
        verdict: judge(share),
        here: format!(
            "MLA's loss is {} MHA's, GQA's {}, MQA's {}; {}",
            number::compared(share),
            number::compared(lab::above(&runs[2], mha).mean().unwrap_or(f64::NAN)),
            number::compared(lab::above(&runs[3], mha).mean().unwrap_or(f64::NAN)),
            lab::said(mla)
        ),
        table,
    })
}

fn judge(above: f64) -> Verdict {
    Verdict::by(above <= 0.01, above <= 0.03)
}

fn above(mla: &[RunResult], other: &[RunResult]) -> String {
    number::percent(lab::above(mla, other).mean().unwrap_or(f64::NAN))
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    #[test]
    fn the_verdict_is_by_the_rule() {
        assert_eq!([-0.5, 0.01, 0.011, 0.03].map(judge), {
            use Verdict::{Holds, Near};
            [Holds, Holds, Near, Near]
        });
        assert_eq!([0.031, f64::NAN].map(judge), [Verdict::Fails; 2]);
    }
}
