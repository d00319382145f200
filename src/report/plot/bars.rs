//! Bars from left to right, with a name and a number each.

use kuva::plot::BarPlot;
use kuva::plot::annotations::TextAnnotation;
use kuva::render::plots::Plot;

use super::axis::Axis;
use super::{Svg, color, label, layout};
use crate::report::number;

/// A bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) slot: usize,
    pub(crate) name: String,
    pub(crate) value: f64,
    /// The least and the largest of its seeds.
    pub(crate) range: (f64, f64),
}

/// The height of a bar and the gap to the next.
const ROW: f64 = 26.0;

/// The bars, the first on top; `None` where there are none.
pub(crate) fn bars(bars: &[Bar], x_label: &str) -> Option<Svg> {
    let known = |bar: &&Bar| bar.value.is_finite() && bar.value >= 0.0;
    // The first is on top, where the library has the last.
    let bars: Vec<&Bar> = bars.iter().filter(known).rev().collect();
    let mut x = Axis::counting(x_label, bars.iter().map(|bar| bar.range.1.max(bar.value)))?;
    let longest = x.max;
    // Room for the number.
    x.max *= 1.28;
    let y = Axis::cells("", bars.len());
    let colored = bars.iter().map(|bar| (label(&bar.name, 22), bar.value, color(bar.slot)));
    let plot = BarPlot::new()
        .with_colored_bars(colored)
        .with_horizontal(true)
        .with_width(0.62)
        .with_asymmetric_error(
            bars.iter().map(|bar| (bar.value - bar.range.0, bar.range.1 - bar.value)),
        )
        .with_error_color("var(--soft)");
    let names = bars.iter().map(|bar| label(&bar.name, 22)).collect();
    let mut layout = layout(&x, &y, 70.0 + ROW * bars.len() as f64)
        .with_y_categories(names)
        .with_y_axis_min(0.5)
        .with_y_axis_max(bars.len() as f64 + 0.5);
    for (i, bar) in bars.iter().enumerate() {
        let end = bar.range.1.max(bar.value) + 0.14 * longest;
        // The library writes above a place: the middle of the bar is lower.
        let text = TextAnnotation::new(number::count(bar.value), end, i as f64 + 1.0 - 0.4);
        layout = layout.with_annotation(text.with_font_size(13));
    }
    Some(Svg::of(vec![Plot::Bar(plot)], layout))
}
