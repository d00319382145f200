//! The ladder over the context, as a plot.

use std::sync::Arc;

use kuva::plot::LinePlot;
use kuva::prelude::LegendPosition;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use latent_model::config::ModelConfig;

use super::ladder;
use crate::commands::units;

const COLORS: [&str; 5] = ["#888888", "#e69f00", "#56b4e9", "#0072b2", "#009e73"];

/// The bytes of one sequence's cache by its length, both axes logarithmic.
pub(super) fn svg(name: &str, config: &ModelConfig) -> String {
    let contexts: Vec<u32> = (10..=17).map(|bits| 1 << bits).collect();
    let plots: Vec<Plot> = ladder(config)
        .into_iter()
        .zip(COLORS)
        .map(|(rung, color)| {
            let points = contexts.iter().map(|&n| (n, f64::from(n) * rung.bytes_per_token as f64));
            let line = LinePlot::new().with_data(points).with_color(color).with_stroke_width(2.5);
            // MQA lies right beneath.
            let line = if rung.name == "MLA, FP8" { line.with_dashed() } else { line };
            Plot::Line(line.with_legend(rung.name))
        })
        .collect();
    let layout = Layout::auto_from_plots(&plots)
        .with_log_scale()
        .with_title(format!("Cache of one sequence: {name}"))
        .with_x_label("context, tokens")
        .with_y_label("bytes")
        .with_x_tick_format(ticks(""))
        .with_y_tick_format(ticks("B"))
        .with_legend_position(LegendPosition::OutsideRightTop)
        .with_width(720.0)
        .with_height(440.0);
    kuva::render_to_svg(plots, layout)
}

/// Decimal units, which a logarithmic axis has its ticks at.
fn ticks(unit: &'static str) -> TickFormat {
    TickFormat::Custom(Arc::new(move |v| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a tick is a power of 10"
        )]
        let label = units::count(v.round().max(0.0) as u64);
        label.replace(".0 ", " ").replace('B', "G") + unit
    }))
}
