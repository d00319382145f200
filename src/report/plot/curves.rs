//! Curves over the tokens of a run, each with the spread of its seeds.

use kuva::plot::{BandPlot, LinePlot, ScatterPlot};
use kuva::render::plots::Plot;

use super::axis::{Axis, drawable};
use super::{Svg, color, layout};
use crate::report::statistics::Spread;

/// A curve, and the colour of its series.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) slot: usize,
    pub(crate) points: Vec<Spread>,
    /// Whether each point is marked: there are few, and what is between them is not known.
    pub(crate) marked: bool,
}

/// The curves in one figure; `None` where no curve has a point.
pub(crate) fn curves(curves: &[Curve], y_label: &str) -> Option<Svg> {
    let all_drawable = |p: &Spread| [p.x, p.low, p.high].into_iter().all(drawable);
    let mut curves = curves.to_vec();
    curves.iter_mut().for_each(|curve| curve.points.retain(all_drawable));
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x =
        Axis::counting_from("tokens trained on", points().map(|point| point.x))?.with_room(0.02);
    let y = Axis::around(y_label, points().flat_map(|point| [point.low, point.high]))?;
    let mut plots = Vec::new();
    for curve in curves.iter().filter(|curve| curve.points.iter().any(|p| p.high > p.low)) {
        let at = |of: fn(&Spread) -> f64| curve.points.iter().map(of);
        let band = BandPlot::new(at(|p| p.x), at(|p| p.low), at(|p| p.high));
        plots.push(Plot::Band(band.with_color(color(curve.slot)).with_opacity(0.18)));
    }
    // The first lies above the others: they are compared with it.
    for curve in curves.iter().rev() {
        let means = || curve.points.iter().map(|point| (point.x, point.mean));
        if curve.points.len() > 1 {
            let line = LinePlot::new().with_data(means()).with_stroke_width(1.8);
            plots.push(Plot::Line(line.with_color(color(curve.slot))));
        }
        if curve.marked || curve.points.len() == 1 {
            let marks = ScatterPlot::new().with_data(means()).with_size(3.5);
            plots.push(Plot::Scatter(marks.with_color(color(curve.slot))));
        }
    }
    Some(Svg::of(plots, layout(&x, &y, 300.0)))
}
