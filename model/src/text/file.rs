//! Reading the small files of a model's folder.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::text::TextError;

/// The most bytes of one file: real tokenizers have 10 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The text of a regular file, `None` where there is no file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, TextError> {
    let io = |source| TextError::Io { path: path.into(), source };
    let found = match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(io)?,
    };
    if !found.is_file() {
        return Err(io(std::io::Error::other("not a regular file")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io(std::io::Error::other(format!("more than {MAX_BYTES} bytes"))));
    }
    String::from_utf8(bytes).map(Some).map_err(|e| io(std::io::Error::other(e.utf8_error())))
}

/// The JSON text of `path` as `T`.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, TextError> {
    serde_json::from_str(text).map_err(|e| TextError::Json {
        path: path.into(),
        line: e.line(),
        column: e.column(),
        detail: e.to_string(),
    })
}
