//! An ablation as a table for the terminal.

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use latent_train::ablation::RunResult;

use super::ablation::Variants;
use super::number::{self, NONE};
use super::text::short;

/// The longest name: others end in a dot. What is long goes on in the next line.
const NAME: usize = 54;

/// A row for each variant, in the order in which they come; at most 100 columns wide.
pub(crate) fn summary(results: &[RunResult]) -> Table {
    let variants = Variants::of(results);
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(100);
    table.set_header([
        "variant",
        "size",
        "active",
        "cache",
        "loss",
        "to the first",
        "MaxVio",
        "bits",
        "tok/s",
    ]);
    for variant in variants.iter() {
        let run = variant.first();
        let above = variants.base().filter(|_| variant.number > 1).map(|base| variant.above(base));
        let max_vio = variant.sample_of(|run| Some(run.balance.as_ref()?.max_vio)).mean();
        let bits = variant.sample_of(|run| Some(run.routing.as_ref()?.mutual_information)).mean();
        let speed = variant.sample(|run| run.tokens_per_second).mean();
        let fixed = |value: Option<f64>| value.map_or(NONE.into(), |v| number::fixed(v, 2));
        table.add_row([
            short(&variant.name, NAME),
            number::count(run.total_parameters as f64),
            number::count(run.active_parameters as f64),
            number::bytes(run.cache_bytes_per_token as f64),
            number::mean(&variant.sample(|run| run.loss), 3),
            above.map_or(NONE.into(), |above| number::difference(&above, 3)),
            fixed(max_vio),
            fixed(bits),
            speed.map_or(NONE.into(), number::count),
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
