//! Documents, each with the kind of text that it is.

use std::path::Path;
use std::sync::Arc;

use crate::data::json::Line;
use crate::data::{DataError, file};

/// A text that stands for itself: attention never leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What kind of text it is, as in `poetry`.
    pub kind: Arc<str>,
    /// The text.
    pub text: String,
}

impl Document {
    /// A document of a kind.
    #[must_use]
    pub fn new(kind: impl Into<Arc<str>>, text: impl Into<String>) -> Self {
        Self { kind: kind.into(), text: text.into() }
    }
}

/// How files become documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The field with the text, in JSON lines; default `text`.
    pub text_field: String,
    /// The field with the kind, in JSON lines. Default `None`: `kind` in lines that have it, the
    /// file's name in others. A field that is asked for must be in every line.
    pub kind_field: Option<String>,
    /// The line between two documents of a text file, as in `%%`; spaces at its end do not count.
    /// Default `None`: a text file is one document.
    pub separator: Option<String>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { text_field: "text".into(), kind_field: None, separator: None }
    }
}

/// Documents in the order in which they were read; at least one.
///
/// ```
/// use latent_train::data::{Corpus, ReadOptions};
/// let folder = tempfile::tempdir()?;
/// let file = folder.path().join("poem.txt");
/// std::fs::write(&file, "Sea.\n%%\nSky.\n")?;
/// let options = ReadOptions { separator: Some("%%".into()), ..ReadOptions::default() };
/// let corpus = Corpus::read(&[file], &options)?;
/// assert_eq!(corpus.documents()[1].text, "Sky.\n");
/// assert_eq!(corpus.kinds(), ["poem"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corpus {
    documents: Vec<Document>,
}

impl Corpus {
    /// A corpus of documents; those without text, or with nothing but white space, are left out.
    ///
    /// # Errors
    /// [`DataError::Empty`] when none is left.
    pub fn new(documents: impl IntoIterator<Item = Document>) -> Result<Self, DataError> {
        Self::of(documents.into_iter().collect(), "the documents given")
    }

    /// Reads files and folders, one after the other.
    ///
    /// | what | documents | kind |
    /// | --- | --- | --- |
    /// | a file `.jsonl` or `.ndjson` | one for each line; empty lines are passed over | by [`ReadOptions::kind_field`] |
    /// | any other file | the whole text, or the parts between [`ReadOptions::separator`] | the file's name without its ending |
    /// | a folder | those of all `.txt`, `.jsonl` and `.ndjson` below it, by name | of a text: the first folder below the given one, the file's name where there is none |
    ///
    /// Documents without text are left out. Text is kept as it is, but for a byte order mark at the
    /// beginning of a file. All is held in memory, a file of at most 4 GiB.
    ///
    /// # Errors
    /// [`DataError::Missing`] and [`DataError::Io`] for a file, [`DataError::Utf8`] with line and
    /// offset, [`DataError::Json`] and [`DataError::Field`] with the line, [`DataError::Empty`]
    /// when there is no text in any of them, [`DataError::Setting`] for an empty separator.
    pub fn read(paths: &[impl AsRef<Path>], options: &ReadOptions) -> Result<Self, DataError> {
        if options.separator.as_ref().is_some_and(|s| s.trim_end().is_empty()) {
            return Err(DataError::setting("separator", "an empty line", "a line with characters"));
        }
        let mut documents = Vec::new();
        for path in paths.iter().map(AsRef::as_ref) {
            if !file::is_folder(path)? {
                read_file(path, stem(path), options, &mut documents)?;
                continue;
            }
            for found in file::list(path)? {
                let kind = folder_kind(path, &found).unwrap_or_else(|| stem(&found));
                read_file(&found, kind, options, &mut documents)?;
            }
        }
        let names: Vec<String> = paths.iter().map(|p| p.as_ref().display().to_string()).collect();
        let found = if names.is_empty() { "no files at all".into() } else { names.join(", ") };
        Self::of(documents, &found)
    }

    fn of(mut documents: Vec<Document>, found: &str) -> Result<Self, DataError> {
        documents.retain(|document| !document.text.trim().is_empty());
        if documents.is_empty() {
            return Err(DataError::Empty { found: found.into() });
        }
        Ok(Self { documents })
    }

    /// The documents, in order.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The kinds of text, each once, by name.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self.documents.iter().map(|d| &*d.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// The length of all texts together.
    #[must_use]
    pub fn text_bytes(&self) -> usize {
        self.documents.iter().map(|d| d.text.len()).sum()
    }
}

/// The documents of one file; `kind` for those that name none.
fn read_file(
    path: &Path,
    kind: Arc<str>,
    options: &ReadOptions,
    documents: &mut Vec<Document>,
) -> Result<(), DataError> {
    let text = file::read(path)?;
    if file::is_json_lines(path) {
        for (index, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
            let place = Line { path, number: index + 1 };
            documents.push(json_line(place, line, &kind, options)?);
        }
        return Ok(());
    }
    let Some(separator) = options.separator.as_deref() else {
        documents.push(Document { kind, text });
        return Ok(());
    };
    let mut part = String::new();
    for line in text.split_inclusive('\n') {
        if line.trim_end() == separator.trim_end() {
            documents.push(Document::new(kind.clone(), std::mem::take(&mut part)));
        } else {
            part.push_str(line);
        }
    }
    documents.push(Document { kind, text: part });
    Ok(())
}

fn json_line(
    line: Line,
    json: &str,
    kind: &Arc<str>,
    options: &ReadOptions,
) -> Result<Document, DataError> {
    let object = line.object(json)?;
    let kind = match &options.kind_field {
        Some(field) => line.text(&object, field)?.into(),
        None if object.contains_key("kind") => line.text(&object, "kind")?.into(),
        None => kind.clone(),
    };
    Ok(Document::new(kind, line.text(&object, &options.text_field)?))
}

/// The first folder below `folder` on the way to `file`.
fn folder_kind(folder: &Path, file: &Path) -> Option<Arc<str>> {
    let below = file.strip_prefix(folder).ok()?;
    let first = below.parent()?.components().next()?;
    Some(first.as_os_str().to_string_lossy().into())
}

fn stem(path: &Path) -> Arc<str> {
    path.file_stem().map_or_else(|| "text".into(), |stem| stem.to_string_lossy().into())
}
