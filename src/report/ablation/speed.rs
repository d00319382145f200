//! How fast variants were trained.

use std::collections::BTreeSet;

use super::variants::Variants;
use crate::commands::units;
use crate::report::page::{Block, Figure};
use crate::report::plot::{Bar, bars};

pub(super) fn blocks(variants: &Variants) -> Vec<Block> {
    let threads: BTreeSet<usize> =
        variants.iter().flat_map(|v| v.runs().map(|run| run.threads)).collect();
    let bar = |variant: &super::variants::Variant| {
        let speed = variant.sample(|run| run.tokens_per_second);
        let own: BTreeSet<usize> = variant.runs().map(|run| run.threads).collect();
        let own: Vec<String> = own.iter().map(ToString::to_string).collect();
        let name = match threads.len() {
            1 => variant.title(),
            _ => format!("{} ({} thr.)", variant.title(), own.join(", ")),
        };
        Some(Bar {
            slot: variant.slot(),
            name,
            value: speed.mean()?,
            range: (speed.min()?, speed.max()?),
        })
    };
    let all: Vec<Bar> = variants.iter().filter_map(bar).collect();
    let with = match threads.first() {
        Some(&n) if threads.len() == 1 => units::of(n as u64, "thread"),
        _ => "the threads that stand beside each".into(),
    };
    let caption = format!(
        "Tokens a second of a step forward and backward, the median of a run, with {with}. Lines go from the \
         slowest to the fastest seed. Runs that go on side by side slow each other."
    );
    let figure = bars(&all, "tokens/s").map(|svg| Figure { svg, caption });
    Block::figures([figure]).into_iter().collect()
}
