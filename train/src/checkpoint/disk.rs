//! Operations on files, one after the other.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::SnapshotError;

/// A disk that announces what is done to it.
pub(crate) struct Disk<'a> {
    before: &'a mut dyn FnMut(&str) -> io::Result<()>,
}

impl<'a> Disk<'a> {
    /// A disk that tells `before` of each operation, which may keep it from being done.
    pub(crate) fn new(before: &'a mut dyn FnMut(&str) -> io::Result<()>) -> Self {
        Self { before }
    }

    /// Announces an operation that something else carries out.
    pub(super) fn announce(&mut self, what: &str, path: &Path) -> Result<(), SnapshotError> {
        let announced = (self.before)(&format!("{what} {}", path.display()));
        announced.map_err(|e| SnapshotError::io(path, e))
    }

    pub(super) fn create_folder(&mut self, path: &Path) -> Result<(), SnapshotError> {
        self.announce("create", path)?;
        fs::create_dir_all(path).map_err(|e| SnapshotError::io(path, e))
    }

    /// Writes and syncs a file, in place of what was there.
    pub(super) fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.announce("write", path)?;
        let write = || {
            let mut file = File::create(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|e| SnapshotError::io(path, e))
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<(), SnapshotError> {
        self.announce("rename to", to)?;
        fs::rename(from, to).map_err(|e| SnapshotError::io(to, e))
    }

    /// Makes what is in a file last through a loss of power.
    pub(super) fn sync_file(&mut self, path: &Path) -> Result<(), SnapshotError> {
        self.announce("sync", path)?;
        // Some systems sync only what is open for writing.
        let file = File::options().write(true).open(path);
        file.and_then(|f| f.sync_all()).map_err(|e| SnapshotError::io(path, e))
    }

    /// Makes the names in a folder last through a loss of power, where the system can.
    pub(super) fn sync_folder(&mut self, path: &Path) -> Result<(), SnapshotError> {
        self.announce("sync", path)?;
        if cfg!(unix) {
            let synced = File::open(path).and_then(|folder| folder.sync_all());
            synced.map_err(|e| SnapshotError::io(path, e))?;
        }
        Ok(())
    }

    /// Removes a file, or a folder with all that is in it.
    pub(super) fn remove(&mut self, path: &Path) -> Result<(), SnapshotError> {
        self.announce("remove", path)?;
        let remove = || {
            if path.symlink_metadata()?.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
        };
        match remove() {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(SnapshotError::io(path, e)),
            _ => Ok(()),
        }
    }
}
