//! Settings of examples: what is refused, and in what words.

use latent_train::tasks::{Examples, ExamplesConfig};

fn refused(text: &str) -> String {
    ExamplesConfig::from_toml(text, &[]).unwrap_err().to_string()
}

#[test]
fn settings_of_examples_out_of_range_are_named() {
    for (section, wanted) in [
        ("count = 0", "examples.count: found 0, want from 1 to 10000000"),
        ("count = 10000001", "examples.count: found 10000001, want from 1 to 10000000"),
        ("worked = -1", "examples.worked: found -1, want a finite number of at least 0"),
        ("partial = nan", "examples.partial: found NaN, want a finite number of at least 0"),
        ("guess = inf", "examples.guess: found inf, want a finite number of at least 0"),
        (
            "worked = 0\npartial = 0\nguess = 0",
            "examples.guess: found 0, want above 0, or else worked or partial above 0",
        ),
        ("malformed = 1.1", "examples.malformed: found 1.1, want from 0 to 1"),
        ("malformed = -0.1", "examples.malformed: found -0.1, want from 0 to 1"),
        ("malformed = nan", "examples.malformed: found NaN, want from 0 to 1"),
        (
            "template = 'Q'",
            r#"examples.template: found "Q", want r1, tiny, or a text with {question} in it once"#,
        ),
        ("malformd = 0.1", "examples.malformd: unknown key; did you mean examples.malformed?"),
        ("count = -1", "examples.count: invalid value: integer `-1`, expected u64"),
        ("template = 3", "examples.template: invalid type: integer `3`, expected a string"),
    ] {
        let text = format!("task.kind.sum = {{}}\n[examples]\n{section}");
        assert_eq!(refused(&text), wanted);
    }
}

#[test]
fn the_task_of_examples_is_read_as_strictly() {
    for (text, wanted) in [
        (
            "task.kind.sum = { term = 3 }",
            "task.kind.sum.term: unknown key; did you mean task.kind.sum.terms?",
        ),
        ("task = { kind.sum = {}, sed = 1 }", "task.sed: unknown key; did you mean task.seed?"),
        ("task.kind.sum = {}\nexample.count = 1", "example: unknown key; did you mean examples?"),
        (
            "task.kind.jsonl = { files = ['absent.jsonl'] }",
            "task.kind.jsonl: has no meaning for examples: problems that are read have no worked solution",
        ),
        ("examples.count = 3", "settings: missing field `task`"),
        ("task = 3", "task: invalid type: integer `3`, expected struct TaskConfig"),
        ("task.seed = 3", "task: missing field `kind`"),
    ] {
        assert_eq!(refused(text), wanted);
    }
    assert!(refused("task.kind.chess = {}").contains("unknown variant `chess`"));
    assert!(refused("task.kind.sum = [").starts_with("line 1, column "));
    // What the task alone knows is said when its problems are made.
    let config = ExamplesConfig::from_toml("task.kind.sum = { terms = 1 }", &[]).unwrap();
    let error = Examples::new(&config).unwrap_err().to_string();
    assert_eq!(error, "task.kind.sum.terms: found 1, want from 2 to 16");
}

#[test]
fn settings_of_examples_are_the_same_after_being_written() {
    let config = ExamplesConfig::from_toml(include_str!("../../rl/examples.toml"), &[]).unwrap();
    let written = toml::to_string(&config).unwrap();
    assert_eq!(ExamplesConfig::from_toml(&written, &[]).unwrap(), config);
}
