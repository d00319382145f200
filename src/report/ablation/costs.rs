//! What a loss costs: in cache, and in parameters that a token uses.

use latent_train::ablation::RunResult;

use super::variants::{Variant, Variants};
use crate::report::page::{Block, Figure};
use crate::report::plot::{Mark, Measure, scatter};

pub(super) fn blocks(variants: &Variants) -> Vec<Block> {
    variants.at_a_time(|shown| {
        let figure = |measure, label: &str, caption: &str, of: fn(&RunResult) -> u64| {
            let svg = scatter(&marks(variants, shown, of), measure, label, "validation loss, nats")?;
            Some(Figure { svg, caption: caption.into() })
        };
        let figures = Block::figures([
            figure(
                Measure::Bytes,
                "cache, bytes a token",
                "Loss against what a token takes in the cache, all layers together, 16 bits an element.",
                |run| run.cache_bytes_per_token,
            ),
            figure(
                Measure::Count,
                "active parameters",
                "Loss against the parameters that one token uses.",
                |run| run.active_parameters,
            ),
        ]);
        let text = "Left and low is best. Bars are one standard deviation over seeds to each side, where \
                    there are several; grey points are the other variants, where there are.";
        let keys = Block::Keys(shown.iter().map(|variant| variant.key()).collect());
        figures.map_or_else(Vec::new, |figures| {
            vec![Block::Paragraph(text.into()), keys, figures]
        })
    })
}

/// Those that are shown, before the others in grey.
fn marks(variants: &Variants, shown: &[&Variant], x: fn(&RunResult) -> u64) -> Vec<Mark> {
    let mark = |variant: &Variant, slot| {
        let loss = variant.sample(|run| run.loss);
        Some(Mark {
            slot,
            label: variant.number.to_string(),
            x: x(variant.first()) as f64,
            y: loss.mean()?,
            deviation: loss.deviation().unwrap_or(0.0),
        })
    };
    let is_shown = |variant: &&Variant| shown.iter().any(|other| other.number == variant.number);
    let others = variants.iter().filter(|variant| !is_shown(variant));
    let others = others.filter_map(|variant| mark(variant, None));
    others.chain(shown.iter().filter_map(|v| mark(v, Some(v.slot())))).collect()
}
