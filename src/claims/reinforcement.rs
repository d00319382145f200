//! What is claimed of reinforcement learning. There are no experiments yet.

use super::{Claim, Finding, Lab, Verdict};
use crate::commands::CommandError;

pub(super) const REWARDS: Claim = Claim {
    name: "rewards",
    statement: "Rewards for form and match alone suffice",
    published: "AIME 2024 from 15.6 % to 71.0 % (DeepSeek-R1, section 2.2.4)",
    rule: "not decided",
    find,
};

pub(super) const BEGINNING: Claim = Claim {
    name: "beginning",
    statement: "It starts with little thinking and wrong answers",
    published: "15.6 % right and hundreds of tokens in the first of 8,000 steps (DeepSeek-R1, figures 2 and 3)",
    rule: "not decided",
    find,
};

pub(super) const GROWTH: Claim = Claim {
    name: "growth",
    statement: "Thinking grows long and coherent, and quality with it",
    published: "from hundreds of tokens to thousands, by itself (DeepSeek-R1, section 2.2.4, figure 3)",
    rule: "not decided",
    find,
};

fn find(_: &Lab<'_>) -> Result<Finding, CommandError> {
    let here = "no experiment yet: training is there, reinforcement learning is not".into();
    Ok(Finding { verdict: Verdict::NotYet, here, table: Vec::new() })
}
