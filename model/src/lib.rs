//! A published checkpoint in, a model out.

pub mod checkpoint;
pub mod config;
pub mod sampling;
pub mod text;
