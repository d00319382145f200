//! A row for each variant.

use latent_train::ablation::{RoutingResult, RunResult};

use super::variants::{Variant, Variants};
use crate::commands::units;
use crate::report::number::{self, NONE};
use crate::report::page::{Align, Block, Cell, Table};
use crate::report::statistics::Sample;

pub(super) fn blocks(variants: &Variants) -> Vec<Block> {
    let Some(base) = variants.base() else { return Vec::new() };
    let mut blocks = vec![Block::Table(table(variants, base))];
    let seeds = match variants.seeds() {
        Some(1) => {
            "There is one seed: nothing here says how much of a difference is chance.".to_owned()
        }
        Some(n) => format!("± is the standard deviation over {n} seeds."),
        None => "± is the standard deviation over seeds, where there are several.".to_owned(),
    };
    let differences = "A difference is to the first variant with the same seed, which has the same documents; \
                       it is bold where three seeds or more all have it on the same side of 0. The lowest \
                       loss is bold.";
    blocks.push(Block::Paragraph(format!("{seeds} {differences}")));
    blocks.push(Block::Paragraph(
        "Active parameters are those that one token uses. MaxVio is the largest load of an expert over \
         the mean, less 1, of the last tenth of the steps: 0 is even. Information is what the choice of \
         an expert tells of the kind of text, in bits: by the trained model, by its first weights, and by \
         its choices dealt out again by chance."
            .into(),
    ));
    blocks.extend(sizes(variants, base).map(Block::Paragraph));
    let unfinished = variants.iter().filter(|v| v.sample(|run| run.loss).len() < v.runs().count());
    blocks.extend(unfinished.map(|variant| {
        let (known, all) = (variant.sample(|run| run.loss).len(), variant.runs().count());
        let title = variant.title();
        Block::Notice(format!("{title}: {known} of {all} seeds have a loss that is a number."))
    }));
    blocks
}

fn table(variants: &Variants, base: &Variant) -> Table {
    let mut columns = vec![("variant".to_owned(), Align::Left)];
    let names = [
        "parameters",
        "active",
        "cache per token",
        "tokens trained on",
        "validation loss",
        "bits a byte",
        "difference",
        "MaxVio",
        "information: trained / first / dealt",
        "tokens/s",
    ];
    columns.extend(names.map(|name| (name.to_owned(), Align::Right)));
    let mean = |variant: &Variant| variant.sample(|run| run.loss).mean();
    let lowest = variants.iter().filter_map(mean).reduce(f64::min);
    let row = |variant: &Variant| {
        let run = variant.first();
        let loss = variant.sample(|run| run.loss);
        let best = loss.mean().is_some_and(|mean| lowest.is_some_and(|lowest| mean <= lowest));
        let seeds = match variants.seeds() {
            Some(_) => String::new(),
            None => format!(" ({})", units::of(variant.runs().count() as u64, "seed")),
        };
        let above = variant.above(base);
        vec![
            variant.cell(),
            number::count(run.total_parameters as f64).into(),
            number::count(run.active_parameters as f64).into(),
            number::bytes(run.cache_bytes_per_token as f64).into(),
            number::count(run.tokens as f64).into(),
            Cell::from(number::mean(&loss, 3) + &seeds).strong(best),
            number::mean(&variant.sample_of(|run| run.bits_per_byte), 3).into(),
            match variant.number {
                1 => NONE.into(),
                _ => Cell::from(number::difference(&above, 3)).strong(above.agrees()),
            },
            number::mean(&max_vio(variant), 2).into(),
            information(variant).into(),
            speed(variant).into(),
        ]
    };
    Table { columns, rows: variants.iter().map(row).collect() }
}

fn max_vio(variant: &Variant) -> Sample {
    variant.sample_of(|run| Some(run.balance.as_ref()?.max_vio))
}

fn information(variant: &Variant) -> String {
    let bits = |of: fn(&RoutingResult) -> f64| {
        let sample = variant.sample_of(|run| run.routing.as_ref().map(of));
        sample.mean().map_or(NONE.to_owned(), |mean| number::fixed(mean, 2))
    };
    if variant.runs().all(|run| run.routing.is_none()) {
        return NONE.into();
    }
    format!(
        "{} / {} / {}",
        bits(|found| found.mutual_information),
        bits(|found| found.untrained),
        bits(|found| found.shuffled)
    )
}

fn speed(variant: &Variant) -> String {
    let mean = variant.sample(|run| run.tokens_per_second).mean();
    mean.map_or(NONE.to_owned(), number::count)
}

/// Which variants are as large as the first: said where not all are.
fn sizes(variants: &Variants, base: &Variant) -> Option<String> {
    let others: Vec<&Variant> = variants.iter().skip(1).collect();
    if others.is_empty() {
        return None;
    }
    let as_large = |of: fn(&RunResult) -> u64| {
        let size = of(base.first()) as f64;
        let near = |v: &&&Variant| (of(v.first()) as f64 - size).abs() <= 0.01 * size;
        let found: Vec<String> = others.iter().filter(near).map(|v| v.number.to_string()).collect();
        match found.len() {
            0 => "no other".to_owned(),
            n if n == others.len() => "all".to_owned(),
            _ => found.join(", "),
        }
    };
    Some(format!(
        "To within a hundredth, as many parameters as the first variant: {}; as many active ones: {}.",
        as_large(|run| run.total_parameters),
        as_large(|run| run.active_parameters)
    ))
}
