//! Figures: one kind of plot a file.
//!
//! Colours are variables of the page's style, so that one drawing is right on light and on dark paper. A
//! figure is as wide as a phone and grows little beyond it: its letters stay legible.

use std::sync::Arc;

use kuva::backend::svg::SvgBackend;
use kuva::render::layout::{Layout, TickFormat};
use kuva::render::plots::Plot;
use kuva::render::render::render_multiple;
use kuva::render::theme::Theme;

mod axis;
mod bars;
mod curves;
mod heat;
mod scatter;

use axis::Axis;
pub(crate) use bars::{Bar, bars};
pub(crate) use curves::{Axes, Curve, curves};
pub(crate) use heat::{heat_by_kind, heat_over_time};
pub(crate) use scatter::{Mark, Measure, scatter};

/// The colours of series: that of the first, and seven that people of any sight tell apart.
pub(crate) const COLORS: usize = 8;
/// The width of a figure.
const WIDTH: f64 = 480.0;
/// Stands for the figure's number. Text from outside has no such character: see
/// [`plain`](super::text::plain).
const NUMBER: &str = "\u{1}";

/// A drawing, with nothing in it that a reader's program would run or fetch.
#[derive(Debug, Clone)]
pub(crate) struct Svg {
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// What is between its first tag and its end.
    content: String,
}

impl Svg {
    /// The drawing as the one with this number on a page: no other has the names that are in it.
    pub(crate) fn numbered(&self, number: usize) -> String {
        self.with(number, "role=\"img\" fill=\"var(--ink)\"")
    }

    /// The same with other attributes, such as its place in a larger drawing.
    pub(crate) fn with(&self, number: usize, attributes: &str) -> String {
        let Self { width, height, content } = self;
        let content = content.replace(NUMBER, &number.to_string());
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" {attributes}>{content}"
        )
    }

    fn of(plots: Vec<Plot>, layout: Layout) -> Self {
        let scene = render_multiple(plots, layout);
        let (width, height) = (scene.width, scene.height);
        let svg = SvgBackend.render_scene(&scene);
        // Its own first tag has a fixed size.
        let rest = svg.split_once('>').map_or("", |(_, rest)| rest);
        let content = match clip_id(rest) {
            Some(id) => rest.replace(&id, &format!("clip{NUMBER}")),
            None => rest.to_owned(),
        };
        Self { width, height, content }
    }
}

/// The name of the area that lines are kept in: the library counts them in a process, so that no page would be
/// the same twice.
fn clip_id(svg: &str) -> Option<String> {
    let (_, rest) = svg.split_once("<clipPath id=\"")?;
    rest.split_once('"').map(|(id, _)| id.to_owned())
}

/// The colour of a series.
pub(super) fn color(slot: usize) -> String {
    format!("var(--s{})", slot % COLORS)
}

/// The same, for what stands behind it.
fn faint_color(slot: usize) -> String {
    format!("color-mix(in srgb, {} 28%, transparent)", color(slot))
}

/// Text from outside, in a drawing.
fn label(text: &str, limit: usize) -> String {
    // A pair of dollars would be read as a formula.
    super::text::short(text, limit).replace('$', "\\$")
}

/// A figure of such axes with letters and lines as all have them.
fn layout(x: &Axis, y: &Axis, height: f64) -> Layout {
    let theme = Theme {
        background: "none".into(),
        axis_color: "var(--soft)".into(),
        grid_color: "var(--grid)".into(),
        tick_color: "var(--soft)".into(),
        text_color: "var(--ink)".into(),
        ..Theme::light()
    };
    Layout::new(x.range(), y.range())
        .with_x_axis_min(x.min)
        .with_x_axis_max(x.max)
        .with_y_axis_min(y.min)
        .with_y_axis_max(y.max)
        .with_x_tick_step(x.step)
        .with_y_tick_step(y.step)
        .with_x_tick_format(ticks(x))
        .with_y_tick_format(ticks(y))
        .with_x_label(x.label.clone())
        .with_y_label(y.label.clone())
        .with_theme(theme)
        .with_font_family("system-ui, sans-serif")
        .with_label_size(14)
        .with_tick_size(13)
        .with_body_size(13)
        .with_width(WIDTH)
        .with_height(height)
}

fn ticks(axis: &Axis) -> TickFormat {
    let write = axis.write.clone();
    TickFormat::Custom(Arc::new(move |value| write(value)))
}
