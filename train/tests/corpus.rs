//! Files and folders become documents, or an error that names the place.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use latent_train::data::{Corpus, DataError, Document, ReadOptions};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

fn read(path: &Path) -> Result<Corpus, DataError> {
    Corpus::read(&[path], &ReadOptions::default())
}

fn pairs(corpus: &Corpus) -> Vec<(&str, &str)> {
    corpus.documents().iter().map(|d| (&*d.kind, d.text.as_str())).collect()
}

/// The message of an error, with the folder's own name left out.
fn message(folder: &TempDir, result: Result<Corpus, DataError>) -> String {
    let message = result.unwrap_err().to_string();
    message.replace(folder.path().to_str().unwrap(), "DIR").replace('\\', "/")
}

#[test]
fn a_text_file_is_one_document_of_its_name() {
    let folder = folder();
    let path = write(&folder, "sea.txt", "One.\r\n\nTwo.\n");
    assert_eq!(pairs(&read(&path).unwrap()), [("sea", "One.\r\n\nTwo.\n")]);
}

#[test]
fn a_byte_order_mark_is_no_text() {
    let folder = folder();
    let path = write(&folder, "sea.txt", "\u{feff}One.");
    assert_eq!(pairs(&read(&path).unwrap()), [("sea", "One.")]);
}

#[test]
fn a_separator_stands_alone_in_its_line() {
    let folder = folder();
    let path = write(&folder, "a.txt", "%%\nOne %%\n%%  \r\n\n \n%%\n%%two\n%%");
    let options = ReadOptions { separator: Some("%%".into()), ..ReadOptions::default() };
    let corpus = Corpus::read(&[path], &options).unwrap();
    assert_eq!(pairs(&corpus), [("a", "One %%\n"), ("a", "%%two\n")]);
}

#[test]
fn kinds_come_from_lines_or_from_the_file() {
    let folder = folder();
    let lines = r#"{"text": "a\nb", "kind": "x"}

{"text": "", "kind": "x"}
{"title": 1, "text": "c"}
"#;
    let path = write(&folder, "mixed.jsonl", lines);
    let corpus = read(&path).unwrap();
    assert_eq!(pairs(&corpus), [("x", "a\nb"), ("mixed", "c")]);
    assert_eq!((corpus.kinds(), corpus.text_bytes()), (vec!["mixed", "x"], 4));
}

#[test]
fn other_fields_can_be_named() {
    let folder = folder();
    let path = write(&folder, "a.ndjson", r#"{"body": "b", "genre": "g", "kind": 1}"#);
    let options = ReadOptions {
        text_field: "body".into(),
        kind_field: Some("genre".into()),
        ..ReadOptions::default()
    };
    assert_eq!(pairs(&Corpus::read(&[path], &options).unwrap()), [("g", "b")]);
}

#[test]
fn a_folder_gives_its_subfolders_as_kinds() {
    let folder = folder();
    write(&folder, "prose/deep/b.txt", "2");
    write(&folder, "prose/a.txt", "1");
    write(&folder, "verse.TXT", "3");
    write(&folder, "verse/c.jsonl", "{\"text\": \"4\"}\n{\"text\": \"5\", \"kind\": \"own\"}");
    write(&folder, "notes.md", "not read");
    let corpus = read(folder.path()).unwrap();
    let wanted = [("prose", "1"), ("prose", "2"), ("verse", "4"), ("own", "5"), ("verse", "3")];
    assert_eq!(pairs(&corpus), wanted);
}

#[test]
fn several_paths_are_read_in_the_order_given() {
    let folder = folder();
    let (b, a) = (write(&folder, "b.txt", "1"), write(&folder, "a.txt", "2"));
    let corpus = Corpus::read(&[b, a], &ReadOptions::default()).unwrap();
    assert_eq!(pairs(&corpus), [("b", "1"), ("a", "2")]);
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder();
    let result = read(&folder.path().join("none.txt"));
    let wanted = "DIR/none.txt: not found; want text, JSON lines or a folder of them";
    assert_eq!(message(&folder, result), wanted);
}

#[test]
fn a_corpus_without_text_is_an_error() {
    let folder = folder();
    let wanted = |found: &str| {
        format!(
            "corpus is empty: found no text in {found}, want at least one document (of a folder: .txt, .jsonl, .ndjson)"
        )
    };
    let nothing = write(&folder, "nothing.txt", "");
    assert_eq!(message(&folder, read(&nothing)), wanted("DIR/nothing.txt"));
    let white = write(&folder, "white.txt", " \n\t\n");
    assert_eq!(message(&folder, read(&white)), wanted("DIR/white.txt"));
    let both = Corpus::read(&[nothing, white], &ReadOptions::default());
    assert_eq!(message(&folder, both), wanted("DIR/nothing.txt, DIR/white.txt"));
    let no_paths: [&Path; 0] = [];
    let none = Corpus::read(&no_paths, &ReadOptions::default());
    assert_eq!(message(&folder, none), wanted("no files at all"));
    assert_eq!(message(&folder, Corpus::new([])), wanted("the documents given"));
    let blank = Corpus::new([Document::new("a", "\n")]);
    assert_eq!(message(&folder, blank), wanted("the documents given"));
    fs::create_dir(folder.path().join("bare")).unwrap();
    assert_eq!(message(&folder, read(&folder.path().join("bare"))), wanted("DIR/bare"));
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_place() {
    let folder = folder();
    let path = write(&folder, "latin.txt", b"abc\nd\xe9f");
    let wanted = "DIR/latin.txt: line 2: found byte 0xe9 at offset 5, want text in UTF-8";
    assert_eq!(message(&folder, read(&path)), wanted);
    // A character that the end of the file cuts.
    let path = write(&folder, "cut.jsonl", b"{\"text\": \"\xc3");
    let wanted = "DIR/cut.jsonl: line 1: found byte 0xc3 at offset 10, want text in UTF-8";
    assert_eq!(message(&folder, read(&path)), wanted);
}

#[test]
fn bad_json_is_named_with_its_line() {
    let folder = folder();
    let path = write(&folder, "a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": \"b\"\n");
    let wanted = "DIR/a.jsonl: line 3: EOF while parsing an object at column 12; want one JSON \
                  object in each line";
    assert_eq!(message(&folder, read(&path)), wanted);
    let deep = write(&folder, "deep.jsonl", "[".repeat(100_000));
    assert!(message(&folder, read(&deep)).starts_with("DIR/deep.jsonl: line 1: recursion limit"));
}

#[test]
fn fields_that_are_absent_or_no_text_are_named() {
    let folder = folder();
    let found = |line: &str, options: &ReadOptions| {
        let path = write(&folder, "a.jsonl", format!("{{\"text\": \"a\", \"g\": \"\"}}\n{line}"));
        message(&folder, Corpus::read(&[path], options))
    };
    let default = ReadOptions::default();
    let wanted = |rest| format!("DIR/a.jsonl: line 2: {rest}");
    let no_object = wanted("the line: found an array, want an object");
    assert_eq!(found("[1]", &default), no_object);
    assert_eq!(found("{}", &default), wanted("text: found nothing, want a string"));
    assert_eq!(found("{\"text\": 3}", &default), wanted("text: found a number, want a string"));
    let no_kind = found("{\"text\": \"a\", \"kind\": null}", &default);
    assert_eq!(no_kind, wanted("kind: found null, want a string"));
    let asked = ReadOptions { kind_field: Some("g".into()), ..default };
    let no_kind = found("{\"text\": \"a\", \"kind\": \"x\"}", &asked);
    assert_eq!(no_kind, wanted("g: found nothing, want a string"));
}

#[test]
fn an_empty_separator_is_an_error() {
    let options = ReadOptions { separator: Some(" ".into()), ..ReadOptions::default() };
    let no_paths: [&Path; 0] = [];
    let found = Corpus::read(&no_paths, &options).unwrap_err().to_string();
    assert_eq!(found, "separator: found an empty line, want a line with characters");
}

#[cfg(unix)]
#[test]
fn files_without_an_end_and_folders_in_a_circle_end() {
    let found = read(Path::new("/dev/zero")).unwrap_err().to_string();
    assert_eq!(found, "/dev/zero: not a regular file");
    let folder = folder();
    write(&folder, "a/b.txt", "1");
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/again")).unwrap();
    assert_eq!(pairs(&read(folder.path()).unwrap()), [("a", "1")]);
}

#[test]
fn the_default_text_has_many_documents_of_each_kind() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("text/public-domain.jsonl");
    let corpus = read(&path).unwrap();
    let kinds = ["code", "drama", "medicine", "novel", "poetry", "politics", "scripture"];
    assert_eq!(corpus.kinds(), kinds);
    assert_eq!((corpus.documents().len(), corpus.text_bytes()), (336, 1_027_433));
    for kind in kinds {
        assert!(corpus.documents().iter().filter(|d| &*d.kind == kind).count() >= 15, "{kind}");
    }
}
