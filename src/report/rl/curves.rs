//! How a run went: many small figures, one quantity each.

use latent_train::rl::{AnswerStats, RlStepPoint};

use super::quantities::{self as q, Quantity};
use super::runs::{Recipe, Recipes};
use crate::report::page::{Block, Figure};
use crate::report::plot::{Axes, Curve, curves};
use crate::report::statistics::{smoothed, spread};

/// Curves are smoothed over about a part of them: this many parts are a curve.
const PARTS: usize = 40;
/// The most evaluations that are marked on a curve.
const MARKED: usize = 40;

/// Sections of figures with their headings.
pub(super) fn sections(recipes: &Recipes) -> Vec<(&'static str, Vec<Block>)> {
    let of = |quantities: &[Quantity]| {
        recipes.at_a_time(|shown| {
            let figures = quantities.iter().map(|quantity| of_steps(shown, quantity));
            with_keys(recipes, shown, Block::figures(figures))
        })
    };
    let mut held_out = recipes.at_a_time(|shown| {
        let figures = q::HELD_OUT.iter().map(|quantity| of_evaluations(shown, quantity));
        with_keys(recipes, shown, Block::figures(figures))
    });
    if !held_out.is_empty() && recipes.iter().any(|recipe| recipe.runs().count() > 1) {
        let text = "A line is the mean over seeds; its band goes from the lowest to the highest.";
        held_out.insert(0, Block::Paragraph(text.into()));
    }
    let moved = any(recipes, |point| Some(point.clip_low + point.clip_high));
    let mut policy = of(match moved {
        true => &[q::ENTROPY, q::KL, q::CLIP_HIGH, q::CLIP_LOW, q::GRAD_NORM],
        false => &[q::ENTROPY, q::KL, q::GRAD_NORM],
    });
    if !policy.is_empty() && !moved {
        let text = "No ratio of probabilities was clipped. Where a step has one update, all ratios are exactly 1.";
        policy.push(Block::Paragraph(text.into()));
    }
    vec![
        ("Held-out questions", held_out),
        ("What answers earn", of(&earned(recipes))),
        ("How long answers are", of(&[q::LENGTH, q::THINKING, q::CLIPPED])),
        ("How the model moves", policy),
        ("Experts and speed", of(&[q::MAX_VIO, q::SPEED])),
    ]
}

/// The reward, and its parts where there are several.
fn earned(recipes: &Recipes) -> Vec<Quantity> {
    let [matched, others @ ..] = q::REWARD_PARTS;
    let others: Vec<_> = others.into_iter().filter(|part| any(recipes, part.of)).collect();
    let mut all = match others.is_empty() {
        true => vec![q::REWARD_OF_MATCHES],
        false => vec![q::REWARD, matched],
    };
    all.extend(others);
    all.push(q::SAME_REWARD);
    all
}

/// Whether a step has a value that is not 0.
fn any(recipes: &Recipes, of: fn(&RlStepPoint) -> Option<f64>) -> bool {
    let mut steps = recipes.iter().flat_map(Recipe::runs).flat_map(|run| &run.history.steps);
    steps.any(|point| of(point).is_some_and(|value| value.abs() > 0.0))
}

fn with_keys(recipes: &Recipes, shown: &[&Recipe], figures: Option<Block>) -> Vec<Block> {
    let keys = || Block::Keys(shown.iter().map(|recipe| recipe.key()).collect());
    let keys = (recipes.len() > 1).then(keys);
    figures.map_or_else(Vec::new, |figures| keys.into_iter().chain([figures]).collect())
}

fn of_evaluations(shown: &[&Recipe], quantity: &Quantity<AnswerStats>) -> Option<Figure> {
    let curve = |recipe: &&Recipe| {
        let points = spread(&recipe.over_evaluations(quantity.of));
        let marked = points.len() <= MARKED;
        Curve { slot: recipe.slot(), points, faint: Vec::new(), marked }
    };
    let all: Vec<Curve> = shown.iter().map(curve).collect();
    let svg = curves(&all, &Axes::over_steps(quantity.axis))?;
    Some(Figure { svg, caption: quantity.caption.into() })
}

fn of_steps(shown: &[&Recipe], quantity: &Quantity) -> Option<Figure> {
    let mut windows = Vec::new();
    // Curves that are compared are as smooth as each other, whatever their lengths.
    let longest = shown.iter().map(|recipe| recipe.longest()).max().unwrap_or(0);
    let curve = |recipe: &&Recipe| {
        let mut each = recipe.over_steps(quantity.of);
        let reach = longest / PARTS / recipe.stretch();
        windows.push((2 * reach + 1) * recipe.stretch());
        let points = spread(&each.iter().map(|curve| smoothed(curve, reach)).collect::<Vec<_>>());
        // Of several seeds there is the band.
        let faint = if each.len() == 1 && reach > 0 { each.remove(0) } else { Vec::new() };
        Curve { slot: recipe.slot(), points, faint, marked: false }
    };
    let all: Vec<Curve> = shown.iter().map(curve).collect();
    let svg = curves(&all, &Axes::over_steps(quantity.axis))?;
    let stretch = shown.iter().map(|recipe| recipe.stretch()).max().unwrap_or(1);
    let faint = all.iter().any(|curve| !curve.faint.is_empty()).then_some(stretch);
    let caption = format!("{}{}", quantity.caption, note(&windows, faint));
    Some(Figure { svg, caption })
}

/// What was done to curves that are means over so many steps, with faint ones behind them that are means over so many.
fn note(windows: &[usize], faint: Option<usize>) -> String {
    let least = windows.iter().min().copied().unwrap_or(1);
    let most = windows.iter().max().copied().unwrap_or(1);
    let up_to = if least == most { "" } else { "up to " };
    let faint = match faint {
        None => String::new(),
        Some(1) => "; faint: each step".into(),
        Some(n) => format!("; faint: of {n}"),
    };
    if most == 1 { String::new() } else { format!(" Means of {up_to}{most} steps{faint}.") }
}
