//! A page of results: sections of text, tables and figures, as one file.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, context};

use super::plot::Svg;

mod values;

/// The colours of a page, on light and on dark paper.
pub(super) const COLORS: &str = include_str!("page/colors.css");

/// What a page is made of.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) title: String,
    /// What the page is about, in a sentence or two.
    pub(crate) lead: String,
    pub(crate) sections: Vec<Section>,
}

/// A part of a page under a heading.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) heading: String,
    pub(crate) blocks: Vec<Block>,
}

/// What stands in a section, one below the other. All text is plain: markup in it is shown as it is.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Paragraph(String),
    /// Something that a reader must not miss.
    Notice(String),
    Table(Table),
    /// Small figures side by side where there is room.
    Figures(Vec<Figure>),
    /// What the colours of the figures below stand for.
    Keys(Vec<Key>),
    /// The colours of a heat map.
    Scale,
    /// Texts to compare, side by side where there is room.
    Beside(Vec<Panel>),
    /// A command or settings.
    Code(String),
    /// What is shown when it is asked for, or from the beginning.
    Folded {
        summary: String,
        open: bool,
        blocks: Vec<Block>,
    },
}

/// A table. Each row has as many cells as there are columns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) columns: Vec<(String, Align)>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// Where the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    /// Whether it stands out.
    pub(crate) strong: bool,
    /// The colour in front of it, that of a series in the figures.
    pub(crate) slot: Option<usize>,
}

/// A figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) svg: Svg,
    pub(crate) caption: String,
}

/// The colour of a series, and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) slot: usize,
    pub(crate) name: String,
}

/// A text as somebody wrote it, its breaks of lines included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panel {
    pub(crate) heading: String,
    /// What was found of it, in a word.
    pub(crate) mark: Option<(Mark, String)>,
    pub(crate) note: String,
    pub(crate) text: String,
}

/// Whether something is as it should be: told by a sign and a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Good,
    Bad,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

impl Cell {
    pub(crate) fn strong(mut self, strong: bool) -> Self {
        self.strong = strong;
        self
    }
}

impl Block {
    /// A figure for each drawing that there is; `None` where there is none.
    pub(crate) fn figures(figures: impl IntoIterator<Item = Option<Figure>>) -> Option<Self> {
        let figures: Vec<Figure> = figures.into_iter().flatten().collect();
        (!figures.is_empty()).then_some(Self::Figures(figures))
    }
}

impl Page {
    /// The page as a file.
    pub(crate) fn render(&self) -> String {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        let rendered = syntax.and_then(|syntax| {
            environment.set_syntax(syntax);
            // The name ends in .html, by which text is escaped.
            environment.add_template("page.html", include_str!("page/page.html"))?;
            let style = [COLORS, include_str!("page/page.css")].concat();
            let page = values::of(self);
            environment.get_template("page.html")?.render(context! { page, style })
        });
        rendered.expect("the template is ours, and tests render it with blocks of each kind")
    }
}
