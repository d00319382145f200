//! Losses over the tokens of a run.

use super::variants::{Variant, Variants};
use crate::report::page::{Block, Figure};
use crate::report::plot::{Axes, Curve, curves};
use crate::report::statistics::{smoothed, spread};

/// The first part of a run, of whose losses the scale would be.
const WARMUP: f64 = 0.05;

pub(super) fn blocks(variants: &Variants) -> Vec<Block> {
    variants.at_a_time(|shown| {
        let figures = Block::figures([
            training(shown, 0.0, "Training loss, smoothed."),
            training(shown, 0.5, "The second half of it."),
            validation(shown),
        ]);
        let keys = Block::Keys(shown.iter().map(|variant| variant.key()).collect());
        let band = match shown.iter().any(|variant| variant.runs().count() > 1) {
            true => "A line is the mean over seeds; its band goes from the lowest to the highest.",
            false => "There is one seed, and so no spread.",
        };
        figures.map_or_else(Vec::new, |figures| vec![Block::Paragraph(band.into()), keys, figures])
    })
}

fn training(shown: &[&Variant], from: f64, caption: &str) -> Option<Figure> {
    let last = shown.iter().flat_map(|v| v.runs().map(|run| run.tokens)).max()? as f64;
    let curve = |variant: &&Variant| {
        let all = variant.curves(|run| &run.training);
        let smooth: Vec<_> = all.iter().map(|curve| smoothed(curve, curve.len() / 40)).collect();
        let mut points = spread(&smooth);
        if points.len() > 20 {
            points.retain(|point| point.x >= last * from.max(WARMUP));
        }
        Curve { slot: variant.slot(), points, faint: Vec::new(), marked: false }
    };
    let all: Vec<Curve> = shown.iter().map(curve).collect();
    let svg = curves(&all, &Axes::over_tokens("training loss, nats"))?;
    let caption = match from > 0.0 {
        true => caption.to_owned(),
        false => format!("{caption} The first twentieth of the run is left out."),
    };
    Some(Figure { svg, caption })
}

fn validation(shown: &[&Variant]) -> Option<Figure> {
    let curve = |variant: &&Variant| Curve {
        slot: variant.slot(),
        points: spread(&variant.curves(|run| &run.validation)),
        faint: Vec::new(),
        marked: true,
    };
    let all: Vec<Curve> = shown.iter().map(curve).collect();
    let svg = curves(&all, &Axes::over_tokens("validation loss, nats"))?;
    Some(Figure { svg, caption: "Validation loss, where it was computed.".into() })
}
