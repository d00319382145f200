//! Heat maps of expert shares: how far each is from an even one.

use std::sync::Arc;

use kuva::plot::Heatmap;
use kuva::plot::heatmap::ColorMap;
use kuva::render::plots::Plot;

use super::axis::Axis;
use super::{Svg, label, layout};

/// The colours end at so many doublings away from an even share.
const DOUBLINGS: f64 = 2.0;
/// The most cells of a figure, beyond which times that follow each other are taken together.
const CELLS: usize = 1600;
/// The height of a row of text beside a heat map.
const ROW: f64 = 24.0;

/// The share of each expert in the tokens of each kind of text: `rows` holds a kind and the tokens sent
/// to each expert. `None` where there is nothing.
pub(crate) fn heat_by_kind(rows: &[(String, Vec<u64>)]) -> Option<Svg> {
    let experts = rows.iter().map(|(_, row)| row.len()).max().filter(|n| *n > 0)?;
    let shares = |row: &Vec<u64>| {
        let all = row.iter().map(|&n| n as f64).sum::<f64>();
        (0..experts).map(|e| row.get(e).map_or(0.0, |&n| n as f64) / all).collect::<Vec<_>>()
    };
    // The first is on top, where the library has the last.
    let cells = rows.iter().rev().map(|(_, row)| evenness(&shares(row))).collect();
    let names = rows.iter().rev().map(|(kind, _)| label(kind, 20)).collect();
    let x = Axis::cells("expert", experts);
    let y = Axis::cells("", rows.len());
    let map = map(cells).with_x_range(x.min, x.max);
    let layout = layout(&x, &y, 70.0 + ROW * rows.len() as f64).with_y_categories(names);
    // Names stand at 1, 2, ...
    let (low, high) = (0.5, rows.len() as f64 + 0.5);
    let layout = layout.with_y_axis_min(low).with_y_axis_max(high).with_show_grid(false);
    Some(Svg::of(vec![Plot::Heatmap(map.with_y_range(low, high))], layout))
}

/// The share of each expert over the tokens of a run; `None` where there is nothing.
pub(crate) fn heat_over_time(loads: &[(u64, Vec<f64>)]) -> Option<Svg> {
    let experts = loads.iter().map(|(_, shares)| shares.len()).max().filter(|n| *n > 0)?;
    let together = loads.len().div_ceil((CELLS / experts).max(4));
    let mut times = Vec::new();
    for part in loads.chunks(together.max(1)) {
        let share = |e: usize| {
            let shares = part.iter().map(|(_, shares)| shares.get(e).copied().unwrap_or(0.0));
            shares.sum::<f64>() / part.len() as f64
        };
        times.push(evenness(&(0..experts).map(share).collect::<Vec<_>>()));
    }
    let cells = (0..experts).map(|e| times.iter().map(|time| time[e]).collect()).collect();
    let x = Axis::counting("tokens trained on", loads.iter().map(|(tokens, _)| *tokens as f64))?;
    let y = Axis::cells("expert", experts);
    let map = map(cells).with_x_range(x.min, x.max).with_y_range(y.min, y.max);
    let height = 70.0 + (8.0 * experts as f64).clamp(90.0, 260.0);
    let layout = layout(&x, &y, height).with_show_grid(false);
    Some(Svg::of(vec![Plot::Heatmap(map)], layout))
}

/// The doublings between each share and an even one, as far as there are colours.
fn evenness(shares: &[f64]) -> Vec<f64> {
    let n = shares.len() as f64;
    let doublings = |share: &f64| (share * n).log2().clamp(-DOUBLINGS, DOUBLINGS);
    shares.iter().map(doublings).collect()
}

/// A map whose colours mean the same in every figure: the library's go from the least to the largest value
/// of each.
fn map(cells: Vec<Vec<f64>>) -> Heatmap {
    let known = || cells.iter().flatten().copied().filter(|value| value.is_finite());
    let low = known().fold(f64::INFINITY, f64::min);
    let high = known().fold(f64::NEG_INFINITY, f64::max);
    let colors = ColorMap::Custom(Arc::new(move |t| shade(low + t * (high - low))));
    Heatmap::new().with_data(cells).with_color_map(colors).with_cell_size(0.97)
}

/// The paper shines through where a share is even, whatever its colour.
fn shade(doublings: f64) -> String {
    if !doublings.is_finite() {
        return "none".into();
    }
    let hue = if doublings < 0.0 { "0,114,178" } else { "213,94,0" };
    // Never quite nothing: a cell is seen to be there.
    let alpha = (doublings.abs() / DOUBLINGS).clamp(0.04, 1.0);
    format!("rgba({hue},{alpha:.2})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_share_has_no_colour_and_four_times_it_has_the_last() {
        assert_eq!(evenness(&[0.25, 0.25, 0.0, 0.5]), [0.0, 0.0, -2.0, 1.0]);
        assert_eq!(shade(0.0), "rgba(213,94,0,0.04)");
        assert_eq!(shade(2.0), "rgba(213,94,0,1.00)");
        assert_eq!(shade(-1.0), "rgba(0,114,178,0.50)");
        assert_eq!(shade(f64::NAN), "none");
    }

    #[test]
    fn maps_of_nothing_are_not_drawn() {
        assert!(heat_by_kind(&[]).is_none());
        assert!(heat_by_kind(&[("a".into(), vec![])]).is_none());
        assert!(heat_over_time(&[]).is_none());
        assert!(heat_over_time(&[(5, vec![])]).is_none());
    }
}
