//! What lies in a folder that a page is asked of: an ablation, a run of reinforcement learning, or several.

use std::fmt;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use latent_train::METRICS_FILE;
use latent_train::ablation::RESULTS_FILE;
use latent_train::rl::{RlPlan, read_history, read_settings};

use crate::commands::CommandError;
use crate::report::rl::RlRun;

/// What a page is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ablation,
    Rl,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ablation => "an ablation",
            Self::Rl => "of reinforcement learning",
        })
    }
}

impl Kind {
    /// By the files in a folder, or by the name of a file.
    pub(super) fn of(path: &Path) -> Result<Self, CommandError> {
        match path.is_dir() {
            true if path.join(RESULTS_FILE).is_file() => Ok(Self::Ablation),
            true if !folders(path)?.is_empty() => Ok(Self::Rl),
            true => {
                let wanted = format!(
                    "found neither {RESULTS_FILE} of an ablation nor {METRICS_FILE} of a run of latent rl"
                );
                Err(CommandError::io(path, Error::new(ErrorKind::NotFound, wanted)))
            }
            false if path.file_name().is_some_and(|name| name == METRICS_FILE) => Ok(Self::Rl),
            false => Ok(Self::Ablation),
        }
    }
}

/// Reads runs of reinforcement learning: the one whose folder or metrics it is, or those that are in the folder.
pub(super) fn read(path: &Path) -> Result<Vec<RlRun>, CommandError> {
    let folders = if path.is_dir() { folders(path)? } else { vec![path.to_owned()] };
    folders.iter().map(|path| run(path)).collect()
}

fn run(path: &Path) -> Result<RlRun, CommandError> {
    let history = read_history(path)?;
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let settings = read_settings(here).map_err(|error| error.to_string());
    let folder = fs::canonicalize(here).map_err(|error| CommandError::io(here, error))?;
    Ok(RlRun { folder, history, settings })
}

/// The folder itself where it is that of a run; else those of runs in it, as a file of settings with variants and seeds
/// makes them: `NAME/seed-N`, the variant with the file's settings first, others by their names.
fn folders(path: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let is_run = |path: &Path| path.join(METRICS_FILE).is_file();
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut names = subfolders(path)?;
    names.sort_by_key(|path| (path.file_name() != Some(RlPlan::AS_GIVEN.as_ref()), path.clone()));
    let mut found = Vec::new();
    for name in names {
        let seed = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("seed-")) && is_run(path)
        };
        match seed(&name) {
            true => found.push(name),
            false => found.extend(subfolders(&name)?.into_iter().filter(seed)),
        }
    }
    Ok(found)
}

fn subfolders(path: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let io = |error| CommandError::io(path, error);
    let entries = fs::read_dir(path).map_err(io)?;
    let paths = entries.map(|entry| Ok(entry.map_err(io)?.path()));
    let paths: Vec<PathBuf> = paths.collect::<Result<_, CommandError>>()?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}
