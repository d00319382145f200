//! Text in and out: tokenizer, chat template, streamed decoding, generation settings.
//!
//! Files of a model's folder are outside input: every check names the file, and the token, line or
//! setting in it.

mod byte_level;
mod decode_stream;
mod error;
mod file;
mod generation_config;
mod guard;
mod pre_tokenizer;
mod template;
mod tokenizer;
mod tokenizer_config;
mod tokenizer_file;

pub use decode_stream::DecodeStream;
pub use error::TextError;
pub use generation_config::GenerationConfig;
pub use template::{ChatTemplate, Message, RenderOptions};
pub use tokenizer::Tokenizer;
pub use tokenizer_config::TokenizerConfig;
