//! Curves over a run, each with the spread of its seeds or with what it is the mean of.

use kuva::plot::{BandPlot, LinePlot, ScatterPlot};
use kuva::render::plots::Plot;

use super::axis::{Axis, drawable};
use super::{Svg, color, faint_color, layout};
use crate::report::statistics::Spread;

/// A curve, and the colour of its series.
#[derive(Debug, Clone)]
pub(crate) struct Curve {
    pub(crate) slot: usize,
    pub(crate) points: Vec<Spread>,
    /// What is smoothed in it, drawn faintly behind all curves; empty where nothing is.
    pub(crate) faint: Vec<(f64, f64)>,
    /// Whether each point is marked: there are few, and what is between them is not known.
    pub(crate) marked: bool,
}

/// What stands on the axes of curves, and how high the figure is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Axes<'a> {
    x: &'a str,
    y: &'a str,
    y_from_zero: bool,
    height: f64,
}

impl<'a> Axes<'a> {
    /// Over the tokens of training, around the values that there are.
    pub(crate) fn over_tokens(y: &'a str) -> Self {
        Self { x: "tokens trained on", y, y_from_zero: false, height: 300.0 }
    }

    /// Over steps and from 0, for many small figures.
    pub(crate) fn over_steps(y: &'a str) -> Self {
        Self { x: "step", y, y_from_zero: true, height: 230.0 }
    }
}

/// The curves in one figure; `None` where no curve has a point.
pub(crate) fn curves(curves: &[Curve], axes: &Axes<'_>) -> Option<Svg> {
    let all_drawable = |p: &Spread| [p.x, p.low, p.high].into_iter().all(drawable);
    let mut curves = curves.to_vec();
    for curve in &mut curves {
        curve.points.retain(all_drawable);
        curve.faint.retain(|(x, y)| drawable(*x) && drawable(*y));
    }
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let x = Axis::counting_from(axes.x, points().map(|point| point.x))?.with_room(0.02);
    let faint = curves.iter().flat_map(|curve| &curve.faint).map(|(_, y)| *y);
    let values = points().flat_map(|point| [point.low, point.high]).chain(faint);
    let y = match axes.y_from_zero {
        // A mark at 100 % is not cut.
        true => Axis::from_zero(axes.y, values)?.with_room(0.03),
        false => Axis::around(axes.y, values)?,
    };
    let mut plots = Vec::new();
    for curve in curves.iter().filter(|curve| curve.points.iter().any(|p| p.high > p.low)) {
        let at = |of: fn(&Spread) -> f64| curve.points.iter().map(of);
        let band = BandPlot::new(at(|p| p.x), at(|p| p.low), at(|p| p.high));
        plots.push(Plot::Band(band.with_color(color(curve.slot)).with_opacity(0.18)));
    }
    for curve in curves.iter().filter(|curve| curve.faint.len() > 1) {
        let line = LinePlot::new().with_data(curve.faint.iter().copied()).with_stroke_width(1.0);
        plots.push(Plot::Line(line.with_color(faint_color(curve.slot))));
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
    Some(Svg::of(plots, layout(&x, &y, axes.height)))
}
