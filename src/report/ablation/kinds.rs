//! Kinds of text: which experts take them, and how well each is predicted.

use std::collections::BTreeSet;

use latent_train::ablation::{RoutingByKind, RoutingResult};

use super::balance::{LAYERS, folded, left_out};
use super::variants::{Variant, Variants};
use crate::report::number;
use crate::report::page::{Align, Block, Cell, Figure, Table};
use crate::report::plot::heat_by_kind;
use crate::report::text::plain;

/// A heat map for each layer.
pub(super) fn experts(variants: &Variants) -> Vec<Block> {
    let mut all = Vec::new();
    for variant in variants.iter() {
        let Some(routing) = &variant.first().routing else { continue };
        if let Some(figures) = of_layers(&routing.trained) {
            let text = Block::Paragraph(information(routing));
            let mut blocks = vec![figures, text];
            blocks.extend(left_out(routing.trained.layers.len()));
            all.push((variant.title(), blocks));
        }
    }
    if all.is_empty() {
        return Vec::new();
    }
    let text = "Each expert's share of the validation tokens of a kind, with the first seed. Where experts \
                know nothing of kinds, all rows of a layer are the same.";
    let mut blocks = vec![Block::Paragraph(text.into()), Block::Scale];
    blocks.extend(folded(all));
    blocks
}

fn of_layers(found: &RoutingByKind) -> Option<Block> {
    Block::figures(found.layers.iter().take(LAYERS).map(|(layer, counts)| {
        let kinds = found.kinds.iter().map(|kind| plain(kind));
        let rows: Vec<_> = kinds.zip(counts.iter().cloned()).collect();
        let caption = format!("Layer {layer}");
        Some(Figure { svg: heat_by_kind(&rows)?, caption })
    }))
}

fn information(routing: &RoutingResult) -> String {
    format!(
        "An expert tells {} bits of the kind of text, the mean over layers; {} with the first weights, {} \
         where the same choices are dealt out by chance.",
        number::fixed(routing.mutual_information, 3),
        number::fixed(routing.untrained, 3),
        number::fixed(routing.shuffled, 3)
    )
}

/// A row for each variant, a column for each kind.
pub(super) fn losses(variants: &Variants) -> Vec<Block> {
    let kinds: BTreeSet<&String> =
        variants.iter().flat_map(|v| v.runs().flat_map(|run| run.kinds.keys())).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let mut columns = vec![("variant".to_owned(), Align::Left)];
    columns.extend(kinds.iter().map(|kind| (plain(kind), Align::Right)));
    let mean = |variant: &Variant, kind: &String| {
        variant.sample_of(|run| run.kinds.get(kind).map(|(loss, _)| *loss))
    };
    let lowest: Vec<Option<f64>> = kinds
        .iter()
        .map(|kind| variants.iter().filter_map(|v| mean(v, kind).mean()).reduce(f64::min))
        .collect();
    let row = |variant: &Variant| {
        let mut row = vec![variant.cell()];
        row.extend(kinds.iter().zip(&lowest).map(|(kind, lowest)| {
            let sample = mean(variant, kind);
            let best = sample.mean().zip(*lowest).is_some_and(|(mean, lowest)| mean <= lowest);
            Cell::from(number::mean(&sample, 3)).strong(best)
        }));
        row
    };
    let rows = variants.iter().map(row).collect();
    let text = "Validation loss of each kind in nats a token; the lowest is bold. Kinds are not to be \
                compared with each other: some texts are easier than others.";
    vec![Block::Paragraph(text.into()), Block::Table(Table { columns, rows })]
}
