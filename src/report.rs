//! Results as a page to look at, and as a table for the terminal.
//!
//! A [`Page`] is one file of HTML that needs nothing else: its figures are SVG in the text, it has no
//! scripts, and it follows a reader's choice of light or dark. What comes from outside, such as names of
//! variants, is text wherever it stands.

pub(crate) mod ablation;
pub(crate) mod number;
mod page;
mod plot;
pub(crate) mod rl;
mod series;
mod settings;
mod sheet;
mod statistics;
mod summary;
mod text;

pub(crate) use page::{Align, Block, Cell, Page, Section, Table};
pub(crate) use sheet::{Sheet, sheets};
pub(crate) use statistics::Sample;
pub(crate) use summary::summary;

#[cfg(test)]
mod tests;
