//! The figures of a page as drawings of their own, for texts that show pictures.

use std::fmt::Write;

use super::page::{Block, Figure, Key, Page};

/// The figures beside each other.
const COLUMNS: usize = 2;
/// The space around figures.
const GAP: f64 = 16.0;
/// The height of a line of keys.
const LINE: f64 = 24.0;
/// The height of a line of captions.
const SMALL_LINE: f64 = 18.0;
/// About the width of a letter.
const LETTER: f64 = 7.5;

/// Figures that belong together, with what their colours stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sheet {
    /// The heading above them, in small letters and hyphens, with a number where there are several.
    pub(crate) name: String,
    /// A file of SVG, right on light and on dark paper.
    pub(crate) svg: String,
}

/// The figures of a page: a sheet for each group of them.
pub(crate) fn sheets(page: &Page) -> Vec<Sheet> {
    page.sections.iter().flat_map(|section| of_section(&section.heading, &section.blocks)).collect()
}

fn of_section(heading: &str, blocks: &[Block]) -> Vec<Sheet> {
    let mut groups = Vec::new();
    group(blocks, &mut &[][..], &mut groups);
    let sheet = |(index, (keys, figures)): (usize, (&[Key], &[Figure]))| {
        let number = if index == 0 { String::new() } else { format!("-{}", index + 1) };
        Sheet { name: slug(heading) + &number, svg: draw(keys, figures) }
    };
    groups.into_iter().enumerate().map(sheet).collect()
}

/// Figures with the keys above them.
fn group<'a>(
    blocks: &'a [Block],
    keys: &mut &'a [Key],
    groups: &mut Vec<(&'a [Key], &'a [Figure])>,
) {
    for block in blocks {
        match block {
            Block::Keys(of_figures) => *keys = of_figures,
            Block::Figures(figures) => groups.push((*keys, figures)),
            Block::Folded { blocks, .. } => group(blocks, keys, groups),
            _ => {}
        }
    }
}

fn slug(heading: &str) -> String {
    let letter = |c: char| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    heading.chars().map(letter).collect()
}

fn draw(keys: &[Key], figures: &[Figure]) -> String {
    let columns = COLUMNS.min(figures.len());
    let wide = figures.iter().map(|figure| figure.svg.width).fold(0.0, f64::max);
    let width = GAP + columns as f64 * (wide + GAP);
    let mut content = String::new();
    let mut y = of_keys(&mut content, keys, width) + GAP;
    for (row, figures) in figures.chunks(columns.max(1)).enumerate() {
        let mut below = y;
        for (column, figure) in figures.iter().enumerate() {
            let (x, svg) = (GAP + column as f64 * (wide + GAP), &figure.svg);
            let place =
                format!("x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\"", svg.width, svg.height);
            content += &svg.with(row * columns + column, &place);
            below = below.max(of_caption(&mut content, figure, [x, y + svg.height], wide));
        }
        y = below + GAP;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {y}\" width=\"{width}\" height=\"{y}\" \
         fill=\"var(--ink)\" font-family=\"system-ui, sans-serif\"><style>{}</style><rect width=\"{width}\" height=\"{y}\" fill=\"var(--page)\"/>{content}</svg>\n",
        super::page::COLORS
    )
}

/// Writes what colours stand for, in lines as wide as the sheet, and gives their height.
fn of_keys(content: &mut String, keys: &[Key], width: f64) -> f64 {
    let (mut x, mut y) = (2.0 * GAP, 0.0);
    for Key { slot, name } in keys {
        let own = 2.0 * GAP + LETTER * name.chars().count() as f64;
        if y == 0.0 || x + own > width {
            (x, y) = (2.0 * GAP, y + LINE);
        }
        let name = escaped(name);
        let (dot, color) = (y - 4.0, super::plot::color(*slot));
        let _ = write!(
            content,
            "<circle cx=\"{x}\" cy=\"{dot}\" r=\"5\" fill=\"{color}\"/><text x=\"{}\" y=\"{y}\" \
             font-size=\"14\">{name}</text>",
            x + 10.0
        );
        x += own;
    }
    y
}

/// Writes what a figure shows below it, in lines as wide as it is, and gives where they end.
fn of_caption(content: &mut String, figure: &Figure, [x, mut y]: [f64; 2], width: f64) -> f64 {
    let mut lines = vec![String::new()];
    for word in figure.caption.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the beginning");
        let letters = line.chars().count() + 1 + word.chars().count();
        match line.is_empty() {
            true => *line = word.into(),
            false if LETTER * letters as f64 > width => lines.push(word.into()),
            false => *line = format!("{line} {word}"),
        }
    }
    for line in lines {
        y += SMALL_LINE;
        let line = escaped(&line);
        let _ = write!(
            content,
            "<text x=\"{x}\" y=\"{y}\" font-size=\"13\" fill=\"var(--soft)\">{line}</text>"
        );
    }
    y
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
