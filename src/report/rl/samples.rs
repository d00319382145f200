//! What a model wrote to the same questions before, on the way, and after.

use latent_train::rl::{RlEvaluation, Sample, Verdict};

use super::runs::{Recipe, Recipes};
use crate::commands::units;
use crate::report::number;
use crate::report::page::{Block, Mark, Panel};
use crate::report::text::{plain, plain_lines, short};

/// The most questions of a run that are shown, and how many of them from the beginning.
const QUESTIONS: usize = 16;
const OPEN: usize = 3;
/// The most characters of a question and of an answer that are shown.
const QUESTION: usize = 2000;
const LONGEST: usize = 8000;

pub(super) fn blocks(recipes: &Recipes) -> Vec<Block> {
    let mut all = Vec::new();
    for recipe in recipes.iter() {
        let found = of_run(recipe);
        match found.is_empty() {
            true => {}
            false if recipes.len() == 1 => all.extend(found),
            false => {
                let open = all.is_empty();
                all.push(Block::Folded { summary: recipe.title(), open, blocks: found });
            }
        }
    }
    if recipes.iter().any(|recipe| recipe.runs().count() > 1) && !all.is_empty() {
        all.insert(0, Block::Paragraph("Of the first seed.".into()));
    }
    all
}

fn of_run(recipe: &Recipe) -> Vec<Block> {
    let with = |(_, found): &&(u64, RlEvaluation)| !found.samples.is_empty();
    let all: Vec<_> = recipe.first().history.evaluations.iter().filter(with).collect();
    let Some(last) = all.len().checked_sub(1) else { return Vec::new() };
    let mut places = vec![0, last / 2, last];
    places.dedup();
    let shown: Vec<&(u64, RlEvaluation)> = places.into_iter().map(|place| all[place]).collect();
    let questions = &all[last].1.samples;
    let one = |sample: &Sample| {
        let panels = shown.iter().filter_map(|(step, found)| {
            let same = |other: &&Sample| other.question == sample.question;
            Some(panel(*step, found.samples.iter().find(same)?))
        });
        let asked = Panel {
            heading: "question".into(),
            mark: None,
            note: format!("known answer: {}", short(&plain(&sample.answer), QUESTION)),
            text: short(&plain_lines(&sample.question), QUESTION),
        };
        [Block::Beside(vec![asked]), Block::Beside(panels.collect())]
    };
    let mut blocks: Vec<Block> = questions.iter().take(OPEN).flat_map(one).collect();
    let more: Vec<&Sample> = questions.iter().take(QUESTIONS).skip(OPEN).collect();
    if !more.is_empty() {
        let summary = units::of(more.len() as u64, "more question");
        let blocks_of_more = more.into_iter().flat_map(one).collect();
        blocks.push(Block::Folded { summary, open: false, blocks: blocks_of_more });
    }
    if questions.len() > QUESTIONS {
        let more = units::of((questions.len() - QUESTIONS) as u64, "question");
        blocks.push(Block::Paragraph(format!("Not shown: {more}.")));
    }
    blocks
}

fn panel(step: u64, sample: &Sample) -> Panel {
    let mark = match sample.verdict {
        Verdict::Right => Some((Mark::Good, "right")),
        Verdict::Wrong => Some((Mark::Bad, "wrong")),
        Verdict::Unformed => Some((Mark::Bad, "wrong form")),
        Verdict::Unknown => None,
    };
    let cut = if sample.ended { "" } else { ", cut off" };
    let count = sample.text.chars().count();
    let left = match count > LONGEST {
        true => format!(", the first of {} characters", units::grouped(count as u64)),
        false => String::new(),
    };
    Panel {
        heading: format!("step {step}"),
        mark: mark.map(|(mark, word)| (mark, word.to_owned())),
        note: format!("reward {}{cut}{left}", number::fixed(sample.reward, 2)),
        text: short(&plain_lines(&sample.text), LONGEST),
    }
}
