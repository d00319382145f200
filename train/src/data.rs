//! Data: from files of text to batches of tokens.
//!
//! | you want | look at |
//! | --- | --- |
//! | documents from text, JSON lines or folders | [`Corpus`] |
//! | documents to train on and others to validate with | [`Split`] |
//! | tokens of a text and back | [`TokenCodec`] |
//! | documents as tokens | [`TokenizedCorpus`] |
//! | sequences packed from documents | [`Packing`], [`Batch`], [`Segment`] |
//! | shuffled batches without end, and a place to go on from | [`Batches`], [`Cursor`] |
//!
//! Files are outside input: every error names the file, the place in it, what was found and what
//! is wanted. All order comes from a seed.
//!
//! ```
//! use std::sync::Arc;
//! use latent_train::data::{Batches, Corpus, Cursor, Document, Packing, TokenCodec, TokenizedCorpus};
//! let corpus = Corpus::new(["one", "two", "three"].map(|text| Document::new("number", text)))?;
//! let split = corpus.split(0.4, 7)?;
//! let codec = TokenCodec::bytes();
//! let tokens = Arc::new(TokenizedCorpus::encode(&codec, &split.train)?);
//! let mut batches = Batches::at(tokens, Packing::new(4, 2)?, 7, Cursor::default())?;
//! assert_eq!(batches.next_batch().tokens(), 8);
//! # Ok::<(), latent_train::data::DataError>(())
//! ```

mod batches;
mod codec;
mod corpus;
mod epoch;
mod error;
pub(crate) mod file;
pub(crate) mod json;
mod packing;
mod split;
mod tokenized;
mod tokenizer_files;

pub use batches::{Batches, Cursor};
pub use codec::TokenCodec;
pub use corpus::{Corpus, Document, ReadOptions};
pub use error::DataError;
pub use packing::{Batch, Packing, Segment};
pub use split::Split;
pub use tokenized::TokenizedCorpus;
