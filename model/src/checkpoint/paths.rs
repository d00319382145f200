//! Which files a checkpoint may name: those in its own folder, and nothing else.

use std::path::{Component, Path, PathBuf};

use super::error::CheckpointError;

/// Joins `dir` and a shard's path as the index `file` gives it.
///
/// Only plain relative paths with `/` are allowed: what escapes on any system is refused on all.
pub(super) fn join(dir: &Path, file: &Path, shard: &str) -> Result<PathBuf, CheckpointError> {
    let plain = Path::new(shard).components().all(|c| matches!(c, Component::Normal(_)));
    if shard.is_empty() || !plain || shard.contains(['\0', '\\', ':']) {
        let wanted = "a relative path inside of it";
        return Err(CheckpointError::ShardPath {
            file: file.to_path_buf(),
            shard: shard.into(),
            wanted,
        });
    }
    Ok(dir.join(shard))
}

/// Proves that `path` leads to a file inside of `dir`, once links are followed.
///
/// A link may leave the folder in one way, that of the Hugging Face cache: from
/// `snapshots/<revision>` to a file of `blobs` beside `snapshots`.
pub(super) fn confine(dir: &Path, path: &Path) -> Result<(), CheckpointError> {
    let real = |p: &Path| p.canonicalize().map_err(|e| CheckpointError::io(p, e));
    let (home, target) = (real(dir)?, real(path)?);
    if target.starts_with(&home) || blobs(&home).is_some_and(|b| target.parent() == Some(&*b)) {
        return Ok(());
    }
    Err(CheckpointError::ShardPath {
        file: path.to_path_buf(),
        shard: target.display().to_string(),
        wanted: "a file inside of it, or in the blobs of a Hugging Face cache",
    })
}

/// The folder of blobs that belongs to a snapshot.
fn blobs(home: &Path) -> Option<PathBuf> {
    let snapshots = home.parent()?;
    (snapshots.file_name()? == "snapshots").then(|| snapshots.with_file_name("blobs"))
}
