//! The models that travel with the program: one that guesses, and what it became by rewards.

use std::fs;
use std::path::Path;

use crate::commands::CommandError;

/// The files of a model.
pub(crate) struct Bundled(&'static [(&'static str, &'static [u8])]);

macro_rules! bundled {
    ($folder:literal) => {
        Bundled(&[
            ("config.json", include_bytes!(concat!("../models/", $folder, "/config.json"))),
            (
                "model.safetensors",
                include_bytes!(concat!("../models/", $folder, "/model.safetensors")),
            ),
            ("tokenizer.json", include_bytes!(concat!("../models/", $folder, "/tokenizer.json"))),
            (
                "tokenizer_config.json",
                include_bytes!(concat!("../models/", $folder, "/tokenizer_config.json")),
            ),
            (
                "generation_config.json",
                include_bytes!(concat!("../models/", $folder, "/generation_config.json")),
            ),
            (
                "chat_template.jinja",
                include_bytes!(concat!("../models/", $folder, "/chat_template.jinja")),
            ),
        ])
    };
}

/// What reinforcement learning begins with.
pub(crate) const ZERO_BASE: Bundled = bundled!("zero-base");

/// What it ends with: what runs where no model is named.
pub(crate) const ZERO: Bundled = bundled!("zero");

impl Bundled {
    /// Writes the files into a folder that is there.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), CommandError> {
        self.0.iter().try_for_each(|(name, bytes)| {
            let path = folder.join(name);
            fs::write(&path, bytes).map_err(|error| CommandError::io(&path, error))
        })
    }
}
