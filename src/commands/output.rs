//! Standard output, whose reader may go away.

use std::io::{self, Write};

use super::CommandError;

/// Prints `text` as it is.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
