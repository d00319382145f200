//! Checkpoints of a run: folders that a model is loaded from, and that training goes on from.
//!
//! ```text
//! OUT/
//!   latest                  the name of the newest checkpoint: what a run goes on from
//!   step-00001000/
//!     config.json           the model, as published ones are
//!     model.safetensors     its weights, in f32, under their published names
//!     tokenizer.json        and tokenizer_config.json
//!     reference.safetensors of reinforcement learning with a reference: its weights
//!     optimizer.safetensors exp_avg.NAME, exp_avg_sq.NAME, momentum_buffer.NAME
//!     trainer.json          a Progress: step, tokens, cursor, settings
//! ```
//!
//! A checkpoint is written to a folder whose name begins with a dot; its files and the folder are
//! synced, then it gets its name, then `latest` is replaced, and only then are older ones removed. A
//! process that ends between any two of these leaves the last checkpoint or the new one, whole; what
//! else it leaves is removed by [`Checkpoints::tidy`] or the next [`Checkpoints::save`].
//!
//! | you want | look at |
//! | --- | --- |
//! | to save, and to find the newest | [`Checkpoints`] |
//! | what goes into a checkpoint | [`Contents`], [`Progress`] |
//! | what comes out of it | [`Restored`] |

mod contents;
mod disk;
mod error;
mod progress;
mod restored;

use std::io;
use std::path::{Path, PathBuf};

use self::disk::Disk;

pub use contents::Contents;
pub use error::SnapshotError;
pub use progress::{Difference, Progress};
pub use restored::Restored;

/// The file that names the newest checkpoint.
const LATEST: &str = "latest";

/// What the names of checkpoints begin with.
const STEP: &str = "step-";

/// The checkpoints in one folder, of which the newest are kept.
///
/// ```
/// use latent_train::checkpoint::Checkpoints;
/// let folder = tempfile::tempdir()?;
/// let checkpoints = Checkpoints::new(folder.path(), 2)?;
/// assert_eq!(checkpoints.latest()?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoints {
    root: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// The checkpoints in the folder `root`, which need not be there yet; `keep` of them are kept.
    ///
    /// # Errors
    /// [`SnapshotError::Keep`] when none is to be kept.
    pub fn new(root: &Path, keep: usize) -> Result<Self, SnapshotError> {
        if keep == 0 {
            return Err(SnapshotError::Keep { found: keep });
        }
        Ok(Self { root: root.into(), keep })
    }

    /// The folder that holds them.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of a step's checkpoint, whether it is there or not.
    #[must_use]
    pub fn folder(&self, step: u64) -> PathBuf {
        self.root.join(format!("{STEP}{step:08}"))
    }

    /// The folder that `latest` names; `None` where there is no such file.
    ///
    /// # Errors
    /// [`SnapshotError::Pointer`] when the file does not name a checkpoint or the folder it names is
    /// not there, [`SnapshotError::Io`].
    pub fn latest(&self) -> Result<Option<PathBuf>, SnapshotError> {
        let path = self.root.join(LATEST);
        let text = match std::fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(SnapshotError::io(&path, e)),
        };
        let name = text.trim_end();
        let pointer = |found: String| SnapshotError::Pointer { path: path.clone(), found };
        let Some(step) = step_of(name) else {
            return Err(pointer(format!("{:?}", text.chars().take(60).collect::<String>())));
        };
        let folder = self.folder(step);
        if folder.is_dir() {
            return Ok(Some(folder));
        }
        Err(pointer(format!("{name}, which is no folder")))
    }

    /// Saves a checkpoint under its step, points `latest` to it, and removes the oldest.
    ///
    /// # Errors
    /// [`SnapshotError::Exists`] when `latest` names this step already, [`SnapshotError::Config`] when
    /// no `config.json` can say what the model is, [`SnapshotError::Weights`],
    /// [`SnapshotError::Tokenizer`] or [`SnapshotError::Io`] when a file cannot be written. What
    /// `latest` named before is whole then.
    pub fn save(&self, contents: &Contents<'_>) -> Result<PathBuf, SnapshotError> {
        let saved = self.save_observed(contents, &mut |_| Ok(()));
        if saved.is_err() {
            // A full disk is not to be kept full; the first error is the one to be told.
            let _ = self.sweep(&mut Disk::new(&mut |_| Ok(())));
        }
        saved
    }

    /// [`save`](Self::save), which tells `before` of each operation on files; an error of it ends the
    /// save there, and leaves what a process leaves that ends there.
    ///
    /// # Errors
    /// Those of [`save`](Self::save), and [`SnapshotError::Io`] with an error of `before`.
    pub fn save_observed(
        &self,
        contents: &Contents<'_>,
        before: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> Result<PathBuf, SnapshotError> {
        let disk = &mut Disk::new(before);
        let folder = self.folder(contents.progress.step);
        if self.latest()?.as_ref() == Some(&folder) {
            return Err(SnapshotError::Exists { path: folder });
        }
        disk.create_folder(&self.root)?;
        self.sweep(disk)?;
        let name = format!("{STEP}{:08}", contents.progress.step);
        let partial = self.root.join(format!(".{name}.partial"));
        contents.write(&partial, disk)?;
        if folder.exists() {
            // Of a process that ended before it pointed to it.
            self.remove(&name, disk)?;
        }
        disk.rename(&partial, &folder)?;
        disk.sync_folder(&self.root)?;
        let unnamed = self.root.join(format!(".{LATEST}.partial"));
        disk.write(&unnamed, format!("{name}\n").as_bytes())?;
        disk.rename(&unnamed, &self.root.join(LATEST))?;
        disk.sync_folder(&self.root)?;
        self.prune(contents.progress.step, disk)?;
        Ok(folder)
    }

    /// Finishes what a process left undone that ended while it saved: what has no name yet or no longer
    /// is removed, and so are checkpoints that are too many. One that is whole but not pointed to stays.
    ///
    /// # Errors
    /// [`SnapshotError::Pointer`] as of [`latest`](Self::latest), [`SnapshotError::Io`].
    pub fn tidy(&self) -> Result<(), SnapshotError> {
        let before = &mut |_: &str| Ok(());
        let disk = &mut Disk::new(before);
        self.sweep(disk)?;
        let newest = self.latest()?;
        let name = newest.as_ref().and_then(|folder| folder.file_name()?.to_str());
        name.and_then(step_of).map_or(Ok(()), |step| self.prune(step, disk))
    }

    /// The steps of all checkpoints, from the oldest on.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] when the folder cannot be read; one that is not there holds none.
    pub fn steps(&self) -> Result<Vec<u64>, SnapshotError> {
        let mut steps: Vec<u64> = self.names()?.iter().filter_map(|name| step_of(name)).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// Removes the oldest of the checkpoints up to `newest`.
    fn prune(&self, newest: u64, disk: &mut Disk<'_>) -> Result<(), SnapshotError> {
        let mut steps = self.steps()?;
        steps.retain(|&step| step <= newest);
        for step in steps.iter().rev().skip(self.keep) {
            self.remove(&format!("{STEP}{step:08}"), disk)?;
        }
        Ok(())
    }

    /// Takes away a checkpoint's name before its files: no half of it has a name that is read.
    fn remove(&self, name: &str, disk: &mut Disk<'_>) -> Result<(), SnapshotError> {
        let removed = self.root.join(format!(".{name}.removed"));
        disk.rename(&self.root.join(name), &removed)?;
        disk.remove(&removed)
    }

    /// Removes what a process left that ended while it saved.
    fn sweep(&self, disk: &mut Disk<'_>) -> Result<(), SnapshotError> {
        for name in self.names()? {
            let Some(rest) = name.strip_prefix('.') else { continue };
            let whose = rest.strip_suffix(".partial").or(rest.strip_suffix(".removed"));
            if whose.is_some_and(|name| name == LATEST || step_of(name).is_some()) {
                disk.remove(&self.root.join(name))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, SnapshotError> {
        let io = |e| SnapshotError::io(&self.root, e);
        let entries = match std::fs::read_dir(&self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(io)?,
        };
        let names = entries.map(|e| Ok(e.map_err(io)?.file_name().to_string_lossy().into_owned()));
        names.collect()
    }
}

/// The step in the name of a checkpoint.
fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix(STEP)?.parse().ok()?;
    (name == format!("{STEP}{step:08}")).then_some(step)
}
