//! How even the experts' loads are, over the tokens of a run.

use latent_train::ablation::BalanceResult;

use super::variants::{Variant, Variants};
use crate::commands::units;
use crate::report::page::{Block, Figure};
use crate::report::plot::{Axes, Curve, curves, heat_over_time};
use crate::report::statistics::{smoothed, spread};

/// The most layers of a variant that have a figure.
pub(super) const LAYERS: usize = 6;
/// The most variants that have figures of their layers.
pub(super) const VARIANTS: usize = 16;

pub(super) fn blocks(variants: &Variants) -> Vec<Block> {
    let mut blocks = variants.at_a_time(|shown| {
        let with: Vec<&&Variant> = shown.iter().filter(|v| balance(v).is_some()).collect();
        let figures = Block::figures([max_vio(&with)]);
        let keys = Block::Keys(with.iter().map(|variant| variant.key()).collect());
        figures.map_or_else(Vec::new, |figures| vec![keys, figures])
    });
    let mut loads = Vec::new();
    for variant in variants.iter() {
        if let Some(figures) = balance(variant).and_then(of_layers) {
            let layers = variant.first().balance.as_ref().map_or(0, |found| found.loads.len());
            loads.push((
                variant.title(),
                std::iter::once(figures).chain(left_out(layers)).collect(),
            ));
        }
    }
    if !loads.is_empty() {
        let text = "Each expert's share of the tokens of a layer, with the first seed. Orange is more than \
                    an even share, blue is less.";
        blocks.push(Block::Paragraph(text.into()));
        blocks.push(Block::Scale);
        blocks.extend(folded(loads));
    }
    blocks
}

fn balance<'a>(variant: &Variant<'a>) -> Option<&'a BalanceResult> {
    variant.first().balance.as_ref()
}

fn max_vio(with: &[&&Variant]) -> Option<Figure> {
    let curve = |variant: &&&Variant| {
        let of = variant.curves(|run| run.balance.as_ref().map_or(&[], |b| &b.max_vio_of_steps));
        let smooth: Vec<_> = of.iter().map(|curve| smoothed(curve, curve.len() / 60)).collect();
        Curve { slot: variant.slot(), points: spread(&smooth), faint: Vec::new(), marked: false }
    };
    let all: Vec<Curve> = with.iter().map(curve).collect();
    let svg = curves(&all, &Axes::over_tokens("MaxVio of a step"))?;
    let caption = "The largest load of a step over the mean, less 1: the mean over layers, smoothed. A batch \
                   is small, and chance alone keeps it above 0.";
    Some(Figure { svg, caption: caption.into() })
}

fn of_layers(balance: &BalanceResult) -> Option<Block> {
    Block::figures(balance.loads.iter().take(LAYERS).map(|(layer, loads)| {
        Some(Figure { svg: heat_over_time(loads)?, caption: format!("Layer {layer}") })
    }))
}

/// How many layers have no figure, where some have none.
pub(super) fn left_out(layers: usize) -> Option<Block> {
    let more = layers.saturating_sub(LAYERS) as u64;
    let text = format!("Without a figure here: {}.", units::of(more, "more layer"));
    (more > 0).then_some(Block::Paragraph(text))
}

/// Each under its title, as many as there may be. The first is open.
pub(super) fn folded(all: Vec<(String, Vec<Block>)>) -> Vec<Block> {
    let more = all.len().saturating_sub(VARIANTS);
    let one = |(i, (summary, blocks))| Block::Folded { summary, open: i == 0, blocks };
    let mut blocks: Vec<Block> = all.into_iter().take(VARIANTS).enumerate().map(one).collect();
    if more > 0 {
        let text = format!("Without figures here: {}.", units::of(more as u64, "more variant"));
        blocks.push(Block::Paragraph(text));
    }
    blocks
}
