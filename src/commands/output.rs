//! Where a command's results and remarks go.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;

use super::CommandError;

/// Prints `text` as it is to standard output, whose reader may go away.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Prints a line to standard error. That nobody reads it is no reason to fail.
pub(crate) fn remark(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints each of `warnings` to standard error.
pub(crate) fn warn<W: Display>(warnings: impl IntoIterator<Item = W>) {
    for warning in warnings {
        remark(format_args!("warning: {warning}"));
    }
}

/// Writes the file at `path` as a whole or not at all.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    write_file_by(path, |file| file.write_all(bytes))
}

/// The same by what `write` puts into it, which need not be in memory at once.
pub(crate) fn write_file_by(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CommandError> {
    let write = || {
        let mut file = temporary_beside(path)?;
        let mut buffer = io::BufWriter::new(&mut file);
        write(&mut buffer)?;
        buffer.flush()?;
        drop(buffer);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| CommandError::io(path, error))
}

/// Makes the folder that the file at `path` is to be in.
pub(crate) fn make_folder_of(path: &Path) -> Result<(), CommandError> {
    let Some(dir) = path.parent() else { return Ok(()) };
    std::fs::create_dir_all(dir).map_err(|error| CommandError::io(dir, error))
}

/// Proves that a file can be written at `path`, before the work that goes into it, and leaves
/// nothing behind.
pub(crate) fn check_writable(path: &Path) -> Result<(), CommandError> {
    temporary_beside(path).map(drop).map_err(|error| CommandError::io(path, error))
}

/// A file in the folder of `path` that is gone unless it is given its name.
fn temporary_beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("is there and not a regular file"));
    }
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Those of any new file, of which the system takes the umask away.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(dir.unwrap_or(Path::new(".")))
}
