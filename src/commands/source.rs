//! A model by the name of an embedded configuration, by its folder, or by a configuration file.

use std::path::{Path, PathBuf};

use latent_model::config::{ModelConfig, PUBLISHED, Warning, published};

use super::CommandError;

/// A configuration and where it came from.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) config: ModelConfig,
    pub(crate) warnings: Vec<Warning>,
    /// The model's folder, unless the configuration is embedded.
    pub(crate) dir: Option<PathBuf>,
}

impl Source {
    pub(crate) fn find(name: &str) -> Result<Self, CommandError> {
        if let Some((_, config)) = published().into_iter().find(|(known, _)| *known == name) {
            return Ok(Self { name: name.into(), config, warnings: Vec::new(), dir: None });
        }
        let path = Path::new(name);
        if !path.exists() {
            let known = PUBLISHED.map(|(known, _)| known).join(", ");
            return Err(CommandError::UnknownModel { name: name.into(), known });
        }
        let (config, warnings) = if path.is_dir() {
            ModelConfig::from_dir(path)?
        } else {
            ModelConfig::from_file(path)?
        };
        let dir = if path.is_dir() { Some(path) } else { path.parent() };
        Ok(Self { name: name.into(), config, warnings, dir: dir.map(Into::into) })
    }
}
