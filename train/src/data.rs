//! Data: from files of text to documents.
//!
//! | you want | look at |
//! | --- | --- |
//! | documents from text, JSON lines or folders | [`Corpus`] |
//!
//! Files are outside input: every error names the file, the place in it, what was found and what
//! is wanted.

mod corpus;
mod error;
mod file;

pub use corpus::{Corpus, Document, ReadOptions};
pub use error::DataError;
