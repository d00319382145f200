//! That experts can be kept even without a loss for it.

use super::{Claim, Finding, Lab, Verdict, lab, row};
use crate::commands::CommandError;
use crate::report::{Sample, number};

pub(super) const CLAIM: Claim = Claim {
    name: "balance",
    statement: "Balance without loss of quality",
    published: "MaxVio 0.04 and perplexity 9.50 with biases, 0.72 and 9.56 with a loss (arXiv 2408.15664, table 2)",
    rule: "holds: MaxVio at most 0.1, and a loss at most 0.5 % above that of no balancing; near: 0.2 and 1 %",
    find,
};

fn find(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let names = ["MLA", "auxiliary loss", "no balancing"];
    let runs = lab.runs(names)?;
    let mut table = vec![row(["what keeps experts even", "MaxVio", "loss", "to no balancing"])];
    let mut found = Vec::new();
    for (name, variant) in names.iter().zip(&runs) {
        let vio: Sample =
            variant.iter().filter_map(|run| Some(run.balance.as_ref()?.max_vio)).collect();
        let above = lab::above(variant, &runs[2]).mean().unwrap_or(f64::NAN);
        table.push(row([
            if *name == "MLA" { "biases (V3)" } else { name },
            &number::mean(&vio, 3),
            &number::mean(&lab::losses(variant), 4),
            &number::percent(above),
        ]));
        found.push((vio.mean().unwrap_or(f64::NAN), above));
    }
    let (vio, above) = found[0];
    Ok(Finding {
        verdict: judge(vio, above),
        here: format!(
            "MaxVio {vio:.3} with biases, {:.3} with a loss, {:.3} with nothing; the loss {} that of no \
             balancing; {}",
            found[1].0,
            found[2].0,
            number::compared(above),
            lab::said(&runs[0])
        ),
        table,
    })
}

fn judge(max_vio: f64, above: f64) -> Verdict {
    Verdict::by(max_vio <= 0.1 && above <= 0.005, max_vio <= 0.2 && above <= 0.01)
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    #[test]
    fn the_verdict_is_by_the_rule() {
        assert_eq!(judge(0.1, -0.1), Verdict::Holds);
        assert_eq!(judge(0.1, 0.006), Verdict::Near);
        assert_eq!(judge(0.11, 0.0), Verdict::Near);
        assert_eq!(judge(0.21, 0.0), Verdict::Fails);
        assert_eq!(judge(0.05, 0.011), Verdict::Fails);
        assert_eq!(judge(f64::NAN, 0.0), Verdict::Fails);
    }
}
