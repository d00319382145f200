//! The command as a user meets it: the built program, its output, its files and its exit codes.

#![expect(clippy::unwrap_used, reason = "a failure to set a test up is a failed test")]

mod ablate;
mod arrays;
mod chat;
#[cfg(target_os = "linux")]
mod chat_terminal;
mod claims;
mod cpu;
mod folder;
mod generate;
mod generate_text;
#[cfg(feature = "gpu")]
mod gpu;
mod grad;
mod inspect;
mod kv;
mod logits;
mod perplexity;
mod program;
mod train;
mod usage;
mod wrong_data;
