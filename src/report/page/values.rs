//! A page as its template sees it.

use minijinja::{Value, context};

use super::{Align, Block, Cell, Mark, Page, Panel, Section, Table};

/// The values of a page, with a number for each of its drawings.
pub(super) fn of(page: &Page) -> Value {
    let mut drawn = 0;
    let sections = page.sections.iter().map(|section| section_of(section, &mut drawn));
    let sections: Vec<Value> = sections.collect();
    context! { title => page.title.as_str(), lead => page.lead.as_str(), sections }
}

fn section_of(section: &Section, drawn: &mut usize) -> Value {
    context! { heading => section.heading.as_str(), blocks => blocks_of(&section.blocks, drawn) }
}

fn blocks_of(blocks: &[Block], drawn: &mut usize) -> Vec<Value> {
    blocks.iter().map(|block| block_of(block, drawn)).collect()
}

fn block_of(block: &Block, drawn: &mut usize) -> Value {
    match block {
        Block::Paragraph(text) => context! { kind => "paragraph", text => text.as_str() },
        Block::Notice(text) => context! { kind => "notice", text => text.as_str() },
        Block::Code(text) => context! { kind => "code", text => text.as_str() },
        Block::Scale => context! { kind => "scale" },
        Block::Keys(keys) => {
            let key = |key: &super::Key| context! { slot => key.slot, name => key.name.as_str() };
            context! { kind => "keys", keys => keys.iter().map(key).collect::<Vec<_>>() }
        }
        Block::Beside(panels) => {
            context! { kind => "beside", panels => panels.iter().map(panel_of).collect::<Vec<_>>() }
        }
        Block::Table(table) => table_of(table),
        Block::Figures(figures) => {
            let figure = |figure: &super::Figure| {
                *drawn += 1;
                // A drawing is markup, and all text in it is escaped already.
                let svg = Value::from_safe_string(figure.svg.numbered(*drawn));
                context! { svg, caption => figure.caption.as_str() }
            };
            context! { kind => "figures", figures => figures.iter().map(figure).collect::<Vec<_>>() }
        }
        Block::Folded { summary, open, blocks } => {
            let blocks = blocks_of(blocks, drawn);
            context! { kind => "folded", summary => summary.as_str(), open => *open, blocks }
        }
    }
}

fn panel_of(panel: &Panel) -> Value {
    let Panel { heading, mark, note, text } = panel;
    let (class, sign) = match mark {
        Some((Mark::Good, _)) => ("good", "✓"),
        Some((Mark::Bad, _)) => ("bad", "✗"),
        None => ("", ""),
    };
    let word = mark.as_ref().map_or("", |(_, word)| word.as_str());
    let (heading, note, text) = (heading.as_str(), note.as_str(), text.as_str());
    context! { heading, class, sign, word, note, text }
}

fn table_of(table: &Table) -> Value {
    let class = |align: Align| match align {
        Align::Left => "left",
        Align::Right => "right",
    };
    let columns = table.columns.iter();
    let columns = columns.map(|(name, align)| {
        context! { name => name.as_str(), align => class(*align) }
    });
    let cell = |(cell, (_, align)): (&Cell, &(String, Align))| {
        let Cell { text, strong, slot } = cell;
        context! { text => text.as_str(), strong => *strong, slot => *slot, align => class(*align) }
    };
    let row = |row: &Vec<Cell>| row.iter().zip(&table.columns).map(cell).collect::<Vec<_>>();
    context! {
        kind => "table",
        columns => columns.collect::<Vec<_>>(),
        rows => table.rows.iter().map(row).collect::<Vec<_>>(),
    }
}
