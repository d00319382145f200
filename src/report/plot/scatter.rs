//! What variants cost, and what they reach: a point for each, with the deviation of its seeds.

use std::sync::Arc;

use kuva::plot::ScatterPlot;
use kuva::plot::annotations::TextAnnotation;
use kuva::render::plots::Plot;

use super::axis::{Axis, drawable, extent};
use super::{Svg, WIDTH, color, label, layout};
use crate::report::number;

/// The height of a figure.
const HEIGHT: f64 = 300.0;

/// A point.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// The colour of its series; `None` for one that is there for comparison.
    pub(crate) slot: Option<usize>,
    /// What stands beside it: short.
    pub(crate) label: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    /// How far it spreads to both sides of `y`; 0 where that is not known.
    pub(crate) deviation: f64,
}

/// What stands on the axis of costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Bytes, on a logarithmic axis with ticks at powers of 2.
    Bytes,
    /// A count, on a logarithmic axis where it goes over more than a power of ten.
    Count,
}

/// The points in one figure; `None` where there are none.
pub(crate) fn scatter(
    marks: &[Mark],
    measure: Measure,
    x_label: &str,
    y_label: &str,
) -> Option<Svg> {
    let known =
        |mark: &&Mark| mark.x >= 1.0 && [mark.x, mark.y, mark.deviation].into_iter().all(drawable);
    let marks: Vec<&Mark> = marks.iter().filter(known).collect();
    let (x, place) = costs(measure, x_label, marks.iter().map(|mark| mark.x))?;
    let ends = |mark: &&Mark| [mark.y - mark.deviation, mark.y + mark.deviation];
    let y = Axis::around(y_label, marks.iter().flat_map(ends))?.with_steps_to_spare();
    let mut plots = Vec::new();
    let mut named = Vec::new();
    for mark in &marks {
        let at = (place(mark.x), mark.y);
        let plot = ScatterPlot::new().with_data([at]);
        let Some(slot) = mark.slot else {
            plots.push(Plot::Scatter(plot.with_color("var(--line)").with_size(3.0)));
            continue;
        };
        let plot = if mark.deviation > 0.0 { plot.with_y_err([mark.deviation]) } else { plot };
        plots.push(Plot::Scatter(plot.with_color(color(slot)).with_size(4.5)));
        named.push((at, label(&mark.label, 12)));
    }
    let points: Vec<(f64, f64)> = named.iter().map(|(at, _)| *at).collect();
    let mut layout = layout(&x, &y, HEIGHT);
    for (at, (_, text)) in beside(&points, &x, &y).into_iter().zip(named) {
        let text = TextAnnotation::new(text, at.0, at.1);
        layout = layout.with_annotation(text.with_font_size(13));
    }
    Some(Svg::of(plots, layout))
}

/// Where the middle of the text beside each point is: on the first side where it is clear of all points and of
/// the texts before it; to the right where there is none.
fn beside(points: &[(f64, f64)], x: &Axis, y: &Axis) -> Vec<(f64, f64)> {
    // About the size of the area within the axes.
    let (width, height) = ((x.max - x.min) / (WIDTH - 90.0), (y.max - y.min) / (HEIGHT - 70.0));
    let sides =
        [(13.0, 0.0), (-13.0, 0.0), (13.0, 13.0), (13.0, -13.0), (-13.0, 13.0), (-13.0, -13.0)];
    let mut taken: Vec<(f64, f64)> = points.to_vec();
    let mut places = Vec::new();
    for at in points {
        let clear = |to: &(f64, f64)| {
            let near = |other: &(f64, f64)| {
                ((other.0 - to.0) / width).abs() < 12.0 && ((other.1 - to.1) / height).abs() < 11.0
            };
            !taken.iter().any(near)
        };
        let all = sides.map(|(dx, dy)| (at.0 + dx * width, at.1 + dy * height));
        let middle = all.into_iter().find(clear).unwrap_or(all[0]);
        taken.push(middle);
        // The library writes so many pixels above the place that it is given.
        places.push((middle.0, middle.1 - 10.5 * height));
    }
    places
}

/// Where a cost stands on its axis.
type Place = fn(f64) -> f64;

fn costs(
    measure: Measure,
    name: &str,
    values: impl Iterator<Item = f64> + Clone,
) -> Option<(Axis, Place)> {
    let (low, high) = extent(values.clone())?;
    let power = |place: Place, base: f64, write: fn(f64) -> String| {
        let (mut min, mut max) = ((place(low) - 0.1).floor(), (place(high) + 0.1).ceil());
        if max - min < 2.0 {
            (min, max) = (min - 0.5, max + 0.5);
        }
        let step = ((max - min) / 6.0).ceil();
        let write = Arc::new(move |exponent| write(base.powf(exponent)));
        (Axis { label: name.into(), min, max, step, write }, place)
    };
    Some(match measure {
        Measure::Bytes => power(f64::log2, 2.0, number::bytes),
        Measure::Count if high > 10.0 * low => power(f64::log10, 10.0, number::count),
        Measure::Count => {
            let room = 0.05 * high.max(1.0);
            let mut axis =
                Axis::around(name, values.flat_map(|value| [value - room, value + room]))?;
            axis.write = Arc::new(number::count);
            (axis, |value| value)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_ticks_at_powers_of_two() {
        let (axis, place) = costs(Measure::Bytes, "", [300.0, 5000.0].into_iter()).unwrap();
        assert_eq!((axis.min, axis.max, axis.step), (8.0, 13.0, 1.0));
        assert_eq!((axis.write)(10.0), "1 KiB");
        assert!((place(1024.0) - 10.0).abs() < 1e-12);
    }

    #[test]
    fn counts_are_on_a_logarithmic_axis_where_they_need_one() {
        let (near, _) = costs(Measure::Count, "", [1e6, 1.5e6].into_iter()).unwrap();
        assert!(near.min > 5e5 && near.max < 2e6);
        let (far, _) = costs(Measure::Count, "", [1e4, 1.5e6].into_iter()).unwrap();
        assert_eq!((far.min, far.max), (3.0, 7.0));
        let (same, _) = costs(Measure::Count, "", [7.0, 7.0].into_iter()).unwrap();
        assert!(same.min < 7.0 && same.max > 7.0);
    }
    #[test]
    fn texts_keep_clear_of_points_and_of_each_other() {
        let axis = |max| Axis { min: 0.0, max, ..Axis::around("", [0.0, max]).unwrap() };
        let (x, y) = (axis(390.0), axis(230.0));
        let places = beside(&[(100.0, 100.0), (113.0, 100.0), (100.0, 100.0)], &x, &y);
        let sides = [(87.0, 89.5), (126.0, 89.5), (113.0, 102.5)];
        for (found, want) in places.iter().zip(sides) {
            assert!((found.0 - want.0).abs() < 0.5 && (found.1 - want.1).abs() < 0.5, "{places:?}");
        }
    }
}
