//! The sizes and settings of a model, from its published `config.json`.
