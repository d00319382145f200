//! Data: from files of text to tokens.
//!
//! | you want | look at |
//! | --- | --- |
//! | documents from text, JSON lines or folders | [`Corpus`] |
//! | tokens of a text and back | [`TokenCodec`] |
//!
//! Files are outside input: every error names the file, the place in it, what was found and what
//! is wanted.

mod codec;
mod corpus;
mod error;
mod file;
mod tokenizer_files;

pub use codec::TokenCodec;
pub use corpus::{Corpus, Document, ReadOptions};
pub use error::DataError;
