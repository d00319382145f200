//! What an ablation found, as a page.

use latent_train::ablation::RunResult;

use super::page::{Block, Page, Section};

mod balance;
mod costs;
mod kinds;
mod losses;
mod overview;
mod settings;
mod speed;
mod variants;

pub(super) use variants::Variants;

/// What a page is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ablation<'a> {
    /// The heading of the page.
    pub(crate) title: &'a str,
    /// The runs that are at their end. Variants stand in the order in which they come; all are compared
    /// with the first.
    pub(crate) results: &'a [RunResult],
    /// A sentence on each run that is not among them.
    pub(crate) missing: &'a [String],
    /// The command that makes the same page.
    pub(crate) command: &'a str,
}

/// The page of an ablation.
pub(crate) fn page(ablation: &Ablation) -> Page {
    let variants = Variants::of(ablation.results);
    let mut sections = Vec::new();
    if variants.is_empty() {
        let blocks = vec![Block::Paragraph("Nothing has finished yet.".into())];
        sections.push(Section { heading: "Results".into(), blocks });
    }
    let parts = [
        ("Summary", overview::blocks(&variants)),
        ("Loss over training", losses::blocks(&variants)),
        ("Loss against what it costs", costs::blocks(&variants)),
        ("How even experts are", balance::blocks(&variants)),
        ("Which experts take which kind of text", kinds::experts(&variants)),
        ("Loss by kind of text", kinds::losses(&variants)),
        ("Speed", speed::blocks(&variants)),
        ("Settings", settings::blocks(&variants)),
    ];
    let filled = parts.into_iter().filter(|(_, blocks)| !blocks.is_empty());
    sections
        .extend(filled.map(|(heading, blocks)| Section { heading: heading.to_owned(), blocks }));
    if !ablation.missing.is_empty() {
        let notices = ablation.missing.iter().map(|text| Block::Notice(super::text::plain(text)));
        sections.insert(
            0,
            Section { heading: "Runs that are missing".into(), blocks: notices.collect() },
        );
    }
    let again = vec![Block::Code(super::text::plain(ablation.command))];
    sections.push(Section { heading: "To get this page again".into(), blocks: again });
    Page { title: super::text::plain(ablation.title), lead: variants.lead(), sections }
}
