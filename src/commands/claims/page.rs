//! Claims as a page.

use latent_train::ablation::read_results;

use crate::claims::{Claim, Finding, Lab, Preset};
use crate::report::ablation::{self, Ablation};
use crate::report::{Align, Block, Cell, Page, Section, Table};

/// A section for each claim, and those of the ablation behind them.
pub(super) fn of(lab: &Lab<'_>, found: &[(&Claim, Finding)]) -> Page {
    let flag = if lab.preset == Preset::Full { " --full" } else { "" };
    let mut sections = vec![Section { heading: "Verdicts".into(), blocks: vec![verdicts(found)] }];
    for (claim, finding) in found {
        let mut blocks = vec![
            Block::Notice(format!("{}: {}", finding.verdict.name(), finding.here)),
            Block::Paragraph(format!("Published: {}.", claim.published)),
            Block::Paragraph(format!("The rule of the verdict: {}.", claim.rule)),
        ];
        blocks.extend(table(&finding.table).map(Block::Table));
        blocks.push(Block::Code(format!("latent claims {}{flag}", claim.name)));
        sections.push(Section { heading: claim.statement.into(), blocks });
    }
    // Without a run there is no file.
    let results = read_results(&lab.config().base.run.out).unwrap_or_default();
    let order = |name: &str| lab.config().variants.iter().position(|v| v.name == name);
    let mut results: Vec<_> =
        results.into_iter().filter(|run| order(&run.variant).is_some()).collect();
    results.sort_by_key(|run| (order(&run.variant), run.seed));
    if !results.is_empty() {
        let title = "The runs behind the claims";
        let command = &format!("latent claims{flag}");
        let behind = Ablation { title, results: &results, missing: &[], command };
        sections.extend(ablation::page(&behind).sections);
    }
    Page {
        title: "What made DeepSeek cheap".into(),
        lead: "The claims of DeepSeek's papers, each held to an experiment on this machine by a rule that was \
               there before it."
            .into(),
        sections,
    }
}

fn verdicts(found: &[(&Claim, Finding)]) -> Block {
    let columns = [("claim", Align::Left), ("verdict", Align::Left), ("here", Align::Left)];
    let row = |(claim, finding): &(&Claim, Finding)| {
        vec![
            Cell::from(claim.statement),
            Cell::from(finding.verdict.name()).strong(true),
            Cell::from(finding.here.as_str()),
        ]
    };
    let columns = columns.map(|(name, align)| (name.to_owned(), align)).to_vec();
    Block::Table(Table { columns, rows: found.iter().map(row).collect() })
}

/// The table of a finding; `None` where there is none.
fn table(rows: &[Vec<String>]) -> Option<Table> {
    let [header, rows @ ..] = rows else { return None };
    let is_number =
        |cell: &String| cell.starts_with(['+', '−', '–']) || cell.starts_with(char::is_numeric);
    let align = |index: usize| match rows.iter().filter_map(|row| row.get(index)).all(is_number) {
        true => Align::Right,
        false => Align::Left,
    };
    let columns = header.iter().enumerate().map(|(i, name)| (name.clone(), align(i))).collect();
    let cells = |row: &Vec<String>| row.iter().map(|cell| Cell::from(cell.as_str())).collect();
    Some(Table { columns, rows: rows.iter().map(cells).collect() })
}
