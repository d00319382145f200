//! A row for each recipe: what was learned, and what it took.

use latent_train::rl::{AnswerStats, RlHistory, RlStepPoint};

use super::RlRun;
use super::runs::{Recipe, Recipes};
use crate::commands::units;
use crate::report::number::{self, NONE};
use crate::report::page::{Align, Block, Cell, Table};

pub(super) fn blocks(recipes: &Recipes) -> Vec<Block> {
    if recipes.iter().flat_map(Recipe::runs).all(|run| run.history == RlHistory::default()) {
        return vec![Block::Paragraph("Nothing was asked yet.".into())];
    }
    let several = recipes.iter().any(|recipe| recipe.runs().count() > 1);
    let spread = if several { " ± is the standard deviation over seeds." } else { "" };
    let learned = format!(
        "On questions that are held out: before the first step → after the last evaluation.{spread} The correlation \
         is that of right answers with the length of thoughts, over evaluations."
    );
    let mut blocks = vec![Block::Table(learned_table(recipes)), Block::Paragraph(learned)];
    blocks.extend(by_chance(recipes).map(Block::Paragraph));
    blocks.push(Block::Table(taken_table(recipes)));
    let taken = "Means over runs, of their steps: evaluations and checkpoints are in none of these numbers. What is \
                 neither rollout nor training is the rest.";
    blocks.push(Block::Paragraph(taken.into()));
    blocks
}

fn table(recipes: &Recipes, names: &[&str], row: impl Fn(&Recipe) -> Vec<String>) -> Table {
    let mut columns = vec![("run".to_owned(), Align::Left)];
    columns.extend(names.iter().map(|name| ((*name).to_owned(), Align::Right)));
    let whole = |recipe: &Recipe| {
        std::iter::once(recipe.cell()).chain(row(recipe).into_iter().map(Cell::from)).collect()
    };
    Table { columns, rows: recipes.iter().map(whole).collect() }
}

fn learned_table(recipes: &Recipes) -> Table {
    let names = [
        "right, %",
        "right form, %",
        "thought, characters",
        "times as long",
        "answer, tokens",
        "correlation",
    ];
    table(recipes, &names, |recipe| {
        vec![
            change(recipe, |stats| 100.0 * stats.accuracy),
            change(recipe, |stats| 100.0 * stats.formed),
            change(recipe, |stats| stats.thinking),
            number::mean_to(&recipe.sample(times_as_long), 2),
            change(recipe, |stats| stats.length),
            correlation(recipe),
        ]
    })
}

fn taken_table(recipes: &Recipes) -> Table {
    let names =
        ["steps", "questions", "minutes", "rollout, %", "training, %", "rest, %", "tokens/s"];
    table(recipes, &names, |recipe| {
        let seeds = recipe.runs().count() as u64;
        let seeds =
            if seeds > 1 { format!(" ({})", units::of(seeds, "seed")) } else { String::new() };
        let mean = |of: &dyn Fn(&RlRun) -> Option<f64>, decimals| {
            let mean = recipe.sample(of).mean();
            mean.map_or(NONE.into(), |mean| number::fixed(mean, decimals))
        };
        let share = |of: fn(&RlStepPoint) -> f64| mean(&|run| Some(100.0 * share(run, of)), 0);
        let steps = |run: &RlRun| Some(run.history.steps.last().map_or(0.0, |p| p.step as f64));
        vec![
            mean(&steps, 0) + &seeds,
            mean(&|run| Some(run.history.questions() as f64), 0),
            mean(&|run| Some(run.history.seconds() / 60.0), 1),
            share(|point| point.rollout_seconds),
            share(|point| point.training_seconds),
            share(|point| point.seconds - point.rollout_seconds - point.training_seconds),
            speed(recipe).map_or(NONE.into(), number::count),
        ]
    })
}

/// A number before and after.
fn change(recipe: &Recipe, of: impl Fn(&AnswerStats) -> f64) -> String {
    let [before, after] = recipe.before_and_after(of).map(|sample| number::mean_to(&sample, 1));
    format!("{before} → {after}")
}

/// The mean of the runs' correlations alone: their spread is in the way of a table that is read on one page.
fn correlation(recipe: &Recipe) -> String {
    let mean = recipe.sample(|run| run.history.accuracy_with_thinking()).mean();
    mean.map_or(NONE.into(), |mean| number::fixed(mean, 2))
}

fn times_as_long(run: &RlRun) -> Option<f64> {
    let [before, after] = run.history.before_and_after()?;
    Some(after.1.stats.thinking / before.1.stats.thinking)
}

fn share(run: &RlRun, of: fn(&RlStepPoint) -> f64) -> f64 {
    run.history.steps.iter().map(of).sum::<f64>() / run.history.seconds()
}

/// Tokens of answers a second.
pub(super) fn speed(recipe: &Recipe) -> Option<f64> {
    let speed = |run: &RlRun| Some(run.history.tokens() as f64 / run.history.seconds());
    recipe.sample(speed).mean()
}

/// How far an accuracy is off by chance, where there are few questions.
fn by_chance(recipes: &Recipes) -> Option<String> {
    let answers = |run: &RlRun| Some(run.history.evaluations.last()?.1.stats.answers);
    let n = recipes.iter().flat_map(Recipe::runs).filter_map(answers).min().filter(|&n| n > 0)?;
    Some(format!(
        "An evaluation asks {} once. With as many, a share of 50 % has a standard error of {} points.",
        units::of(n as u64, "question"),
        number::fixed(50.0 / (n as f64).sqrt(), 1)
    ))
}
