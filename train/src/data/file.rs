//! Reading files and folders of text.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::data::DataError;

/// The most bytes of one file: a corpus is held in memory.
const MAX_BYTES: u64 = 4 << 30;

/// The most folders inside of each other.
const MAX_DEPTH: usize = 32;

/// The text of a regular file, without a byte order mark.
pub(crate) fn read(path: &Path) -> Result<String, DataError> {
    let io = |source| DataError::Io { path: path.into(), source };
    if !metadata(path)?.is_file() {
        return Err(io(std::io::Error::other("not a regular file")));
    }
    // `Take` asks for no size in advance, so the buffer grows with the bytes that come.
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io(std::io::Error::other(format!("more than {MAX_BYTES} bytes"))));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)),
        Err(e) => {
            let (offset, bytes) = (e.utf8_error().valid_up_to(), e.as_bytes());
            let line = 1 + bytes[..offset].iter().filter(|&&b| b == b'\n').count();
            Err(DataError::Utf8 { path: path.into(), line, offset, found: bytes[offset] })
        }
    }
}

/// Whether `path` is a folder.
pub(crate) fn is_folder(path: &Path) -> Result<bool, DataError> {
    Ok(metadata(path)?.is_dir())
}

/// Whether a file has one JSON value in each line.
pub(crate) fn is_json_lines(path: &Path) -> bool {
    has_extension(path, &["jsonl", "ndjson"])
}

/// The files of text below `folder`, by name; links to folders are not followed.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    collect(folder, 0, &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: folder.into(), source };
    if depth > MAX_DEPTH {
        let deep = format!("more than {MAX_DEPTH} folders inside of each other");
        return Err(io(std::io::Error::other(deep)));
    }
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            collect(&entry.path(), depth + 1, files)?;
        } else if has_extension(&entry.path(), &["txt", "jsonl", "ndjson"]) {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn metadata(path: &Path) -> Result<fs::Metadata, DataError> {
    fs::metadata(path).map_err(|source| match source.kind() {
        ErrorKind::NotFound => {
            DataError::Missing { path: path.into(), wanted: "text, JSON lines or a folder of them" }
        }
        _ => DataError::Io { path: path.into(), source },
    })
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    let extension = path.extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| wanted.iter().any(|w| e.eq_ignore_ascii_case(w)))
}
