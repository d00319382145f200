//! What is claimed of reinforcement learning: a model that guesses sums learns to work them through, from rewards
//! for form and match alone.

use latent_train::rl::RlHistory;

use super::{Claim, Finding, Lab, Verdict, row};
use crate::commands::{CommandError, units};
use crate::report::Sample;

pub(super) const REWARDS: Claim = Claim {
    name: "rewards",
    statement: "Rewards for form and match alone suffice",
    published: "AIME 2024 from 15.6 % to 71.0 % (DeepSeek-R1, section 2.2.4)",
    rule: "holds: of questions that are held out at least 90 % are right at the end and 99 % in form; near: twice \
           as many are right as at the beginning",
    find: rewards,
};

pub(super) const BEGINNING: Claim = Claim {
    name: "beginning",
    statement: "It starts with little thinking and wrong answers",
    published: "15.6 % right and hundreds of tokens in the first of 8,000 steps (DeepSeek-R1, figures 2 and 3)",
    rule: "holds: at the beginning at most 25 % are right, and thoughts have at most two thirds of their last length; \
           near: at most 50 % are right",
    find: beginning,
};

pub(super) const GROWTH: Claim = Claim {
    name: "growth",
    statement: "Thinking grows long and coherent, and quality with it",
    published: "from hundreds of tokens to thousands, by itself (DeepSeek-R1, section 2.2.4, figure 3)",
    rule: "holds: thoughts become at least 1.5 times as long, and accuracy goes with their length (correlation at \
           least 0.8); near: they become longer, and the correlation is positive",
    find: growth,
};

pub(super) const PROBLEMS: Claim = Claim {
    name: "problems",
    statement: "It takes little training data, and none with thoughts in it",
    published: "questions with answers alone: no thought is labelled (DeepSeek-R1, section 2.2)",
    rule: "holds: half of the questions that are held out are right after at most 1,000 problems; near: 4,000",
    find: problems,
};

/// The means over seeds that verdicts are by.
struct Means {
    accuracy: [f64; 2],
    formed: [f64; 2],
    thinking: [f64; 2],
    /// `None` where no run has one.
    correlation: Option<f64>,
    /// The problems until half of the answers were right, in the slowest run; `None` where one never got there.
    half: Option<u64>,
}

impl Means {
    fn of(runs: &[RlHistory]) -> Self {
        let mean = |of: &dyn Fn(&RlHistory) -> Option<f64>| {
            runs.iter().filter_map(of).collect::<Sample>().mean()
        };
        let both = |of: &dyn Fn(&latent_train::rl::AnswerStats) -> f64| {
            let at = |end: usize| mean(&|run| Some(of(&run.before_and_after()?[end].1.stats)));
            [0, 1].map(|end| at(end).unwrap_or(f64::NAN))
        };
        let half = runs.iter().map(|run| run.reached(0.5).map(|reached| reached.questions));
        Self {
            accuracy: both(&|stats| stats.accuracy),
            formed: both(&|stats| stats.formed),
            thinking: both(&|stats| stats.thinking),
            correlation: mean(&RlHistory::accuracy_with_thinking),
            half: half.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max()),
        }
    }

    fn growth(&self) -> f64 {
        self.thinking[1] / self.thinking[0]
    }
}

fn rewards(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let runs = lab.thinkers()?;
    let Means { accuracy, formed, .. } = Means::of(&runs);
    Ok(Finding {
        verdict: judge_rewards(accuracy, formed),
        here: format!(
            "of questions that are held out {} are right after {}, {} at the beginning; {}",
            percent(accuracy[1]),
            percent(formed[1]) + " in form",
            percent(accuracy[0]),
            said(&runs)
        ),
        table: table(&runs),
    })
}

fn judge_rewards(accuracy: [f64; 2], formed: [f64; 2]) -> Verdict {
    Verdict::by(
        accuracy[1] >= 0.9 && formed[1] >= 0.99,
        accuracy[1] > 0.0 && accuracy[1] >= 2.0 * accuracy[0],
    )
}

fn beginning(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let runs = lab.thinkers()?;
    let Means { accuracy, thinking, .. } = Means::of(&runs);
    let mut table = vec![row(["question", "before", "after"])];
    let samples = |end: usize| runs.first()?.before_and_after().map(|ends| &ends[end].1.samples);
    if let (Some(before), Some(after)) = (samples(0), samples(1)) {
        let pairs = before.iter().zip(after).take(3);
        table.extend(
            pairs.map(|(before, after)| row([&before.question, &before.text, &after.text])),
        );
    }
    Ok(Finding {
        verdict: judge_beginning(accuracy[0], thinking),
        here: format!(
            "{} right by {:.1} characters of thought, which end at {:.1}; {}",
            percent(accuracy[0]),
            thinking[0],
            thinking[1],
            said(&runs)
        ),
        table,
    })
}

fn judge_beginning(accuracy: f64, thinking: [f64; 2]) -> Verdict {
    let little = thinking[0] <= thinking[1] / 1.5;
    Verdict::by(accuracy <= 0.25 && little, accuracy <= 0.5 && little)
}

fn growth(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let runs = lab.thinkers()?;
    let means = Means::of(&runs);
    let mut table = vec![row([
        "seed",
        "step",
        "right",
        "in form",
        "characters of thought",
        "tokens of an answer",
    ])];
    for (seed, run) in runs.iter().enumerate() {
        // Some, evenly: a whole run would be a long table.
        let every = run.evaluations.len().div_ceil(8).max(1);
        table.extend(run.evaluations.iter().step_by(every).map(|(step, found)| {
            let stats = found.stats;
            row([
                &seed.to_string(),
                &step.to_string(),
                &percent(stats.accuracy),
                &percent(stats.formed),
                &format!("{:.1}", stats.thinking),
                &format!("{:.1}", stats.length),
            ])
        }));
    }
    Ok(Finding {
        verdict: judge_growth(means.growth(), means.correlation),
        here: format!(
            "thoughts become {:.2} times as long, and accuracy goes with their length by a correlation of {}; {}",
            means.growth(),
            means.correlation.map_or("nothing that can be told".into(), |c| format!("{c:.2}")),
            said(&runs)
        ),
        table,
    })
}

fn judge_growth(growth: f64, correlation: Option<f64>) -> Verdict {
    let with = |least: f64| correlation.is_some_and(|found| found >= least);
    Verdict::by(growth >= 1.5 && with(0.8), growth > 1.0 && with(f64::MIN_POSITIVE))
}

fn problems(lab: &Lab<'_>) -> Result<Finding, CommandError> {
    let runs = lab.thinkers()?;
    let half = Means::of(&runs).half;
    let mut table = vec![row(["held out, right", "problems until then"])];
    for accuracy in [0.25, 0.5, 0.75, 0.9, 0.95] {
        let reached = runs.iter().map(|run| run.reached(accuracy));
        let shown: Vec<String> = reached
            .map(|reached| reached.map_or("not reached".into(), |r| units::grouped(r.questions)))
            .collect();
        table.push(row([&percent(accuracy), &shown.join(", ")]));
    }
    let until = half.map_or("not reached".into(), |n| format!("{} problems", units::grouped(n)));
    Ok(Finding {
        verdict: judge_problems(half),
        here: format!(
            "half of the questions that are held out are right after: {until}; {}",
            said(&runs)
        ),
        table,
    })
}

fn judge_problems(half: Option<u64>) -> Verdict {
    let within = |most: u64| half.is_some_and(|problems| problems <= most);
    Verdict::by(within(1000), within(4000))
}

/// A row for each seed.
fn table(runs: &[RlHistory]) -> Vec<Vec<String>> {
    let mut table =
        vec![row(["seed", "steps", "right", "in form", "characters of thought", "seconds"])];
    for (seed, run) in runs.iter().enumerate() {
        let Some([(_, before), (step, after)]) = run.before_and_after() else { continue };
        let (before, after) = (before.stats, after.stats);
        table.push(row([
            &seed.to_string(),
            &step.to_string(),
            &format!("{} to {}", percent(before.accuracy), percent(after.accuracy)),
            &format!("{} to {}", percent(before.formed), percent(after.formed)),
            &format!("{:.1} to {:.1}", before.thinking, after.thinking),
            &format!("{:.0}", run.seconds()),
        ]));
    }
    table
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// How many seeds of how many steps there are.
fn said(runs: &[RlHistory]) -> String {
    let steps = runs.first().map_or(0, |run| run.steps.len());
    format!("{} of {}", units::of(runs.len() as u64, "seed"), units::of(steps as u64, "step"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Fails, Holds, Near};

    #[test]
    fn verdicts_are_by_their_rules() {
        let found = [[0.2, 0.9], [0.2, 0.4], [0.2, 0.39], [0.0, 0.0], [0.1, f64::NAN]];
        assert_eq!(
            found.map(|a| judge_rewards(a, [0.5, 0.99])),
            [Holds, Near, Fails, Fails, Fails]
        );
        assert_eq!(judge_rewards([0.2, 0.95], [0.5, 0.98]), Near);
        let found = [(0.25, 15.0), (0.25, 14.9), (0.5, 15.0), (0.51, 15.0), (f64::NAN, 15.0)];
        let judged = found.map(|(accuracy, last)| judge_beginning(accuracy, [10.0, last]));
        assert_eq!(judged, [Holds, Fails, Near, Fails, Fails]);
        let found = [(1.5, 0.8), (1.49, 0.9), (1.5, 0.79), (1.0, 0.9), (2.0, 0.0)];
        let judged = found.map(|(growth, correlation)| judge_growth(growth, Some(correlation)));
        assert_eq!(judged, [Holds, Near, Near, Fails, Fails]);
        assert_eq!(judge_growth(2.0, None), Fails);
        let found = [Some(1000), Some(1001), Some(4001), None];
        assert_eq!(found.map(judge_problems), [Holds, Near, Fails, Fails]);
    }
}
