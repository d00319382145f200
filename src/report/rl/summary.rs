//! Runs as a table for the terminal.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use latent_train::rl::AnswerStats;

use super::RlRun;
use super::overview::speed;
use super::runs::{Recipe, Recipes};
use crate::report::number::{self, NONE};
use crate::report::statistics::Sample;
use crate::report::text::short;

/// The longest name: others end in a dot.
const NAME: usize = 40;

/// A row for each recipe, in the order in which they come, with means over its seeds; at most 100 columns wide.
pub(crate) fn summary(runs: &[RlRun]) -> Table {
    let recipes = Recipes::of(runs);
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(100);
    table.set_header(["run", "steps", "right, %", "in form, %", "thought", "minutes", "tok/s"]);
    for recipe in recipes.iter() {
        let steps = recipe.sample(|run| run.history.steps.last().map(|point| point.step as f64));
        let minutes = recipe.sample(|run| Some(run.history.seconds() / 60.0));
        table.add_row([
            short(&recipe.name, NAME),
            steps.max().map_or(NONE.into(), |steps| number::fixed(steps, 0)),
            change(recipe, |stats| 100.0 * stats.accuracy),
            change(recipe, |stats| 100.0 * stats.formed),
            change(recipe, |stats| stats.thinking),
            fixed(&minutes),
            speed(recipe).map_or(NONE.into(), number::count),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for column in table.column_iter_mut() {
        column.set_padding((1, 0));
    }
    table
}

/// A mean before and after.
fn change(recipe: &Recipe, of: impl Fn(&AnswerStats) -> f64) -> String {
    let [before, after] = recipe.before_and_after(of).map(|sample| fixed(&sample));
    format!("{before} → {after}")
}

fn fixed(sample: &Sample) -> String {
    sample.mean().map_or(NONE.into(), |mean| number::fixed(mean, 1))
}
