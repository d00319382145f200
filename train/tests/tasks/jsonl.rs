//! Problems from files.

use std::path::PathBuf;

use latent_train::tasks::{Part, Task, TaskConfig};

/// A task of one file with these lines.
fn read(text: &str, settings: &str) -> Result<Task, String> {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("problems.jsonl");
    std::fs::write(&path, text).unwrap();
    let settings = settings.replace("FILE", &path.display().to_string());
    let config: TaskConfig = toml::from_str(&settings).unwrap();
    let error = |e: latent_train::tasks::TaskError| {
        e.to_string().replace(&folder.path().display().to_string(), "")
    };
    Task::new(&config).map_err(error)
}

fn lines(count: usize) -> String {
    (0..count)
        .map(|n| format!("{{\"question\":\"{n} + 1?\",\"answer\":\"{}\"}}\n", n + 1))
        .collect()
}

fn questions(task: &Task, part: Part) -> Vec<String> {
    (0..task.count(part) as u64).map(|index| task.problem(index, part).question).collect()
}

const PLAIN: &str = "kind.jsonl = { files = ['FILE'] }";

#[test]
fn an_export_of_reasoning_gym_is_read() {
    let text = concat!(
        r#"{"question": "How many legs have 2 cows?", "answer": "8", "metadata": {"difficulty": {}}}"#,
        "\n\n",
        r#"{"question": "How many legs has a hen?", "answer": 2}"#,
    );
    // One of two is held out where the share is a half, by the seed.
    let of = |seed| read(text, &format!("{PLAIN}\nheld_out = 0.5\nseed = {seed}"));
    let task = (0..20).find_map(|seed| of(seed).ok()).unwrap();
    assert_eq!((task.count(Part::Train), task.count(Part::HeldOut)), (1, 1));
    let mut answers = [Part::Train, Part::HeldOut].map(|part| task.problem(0, part).answer);
    answers.sort();
    assert_eq!(answers, ["2", "8"]);
    assert_eq!(task.problem(0, Part::Train).worked(), None);
}

#[test]
fn the_match_and_the_fields_are_settings() {
    let text = lines(50).replace("question", "prompt").replace("answer", "solution");
    let fields = "kind.jsonl = { files = ['FILE'], question_field = 'prompt', \
                  answer_field = 'solution'";
    let exact = read(&text, &format!("{fields} }}")).unwrap().problem(0, Part::Train);
    let numeric = read(&text, &format!("{fields}, match = 'numeric' }}")).unwrap();
    let answer = format!("{}.0", exact.answer);
    assert!(!exact.matches(&answer) && numeric.problem(0, Part::Train).matches(&answer));
}

#[test]
fn a_question_keeps_its_part_whatever_else_there_is() {
    let (few, many) = (read(&lines(100), PLAIN).unwrap(), read(&lines(1000), PLAIN).unwrap());
    for part in [Part::Train, Part::HeldOut] {
        let (few, many) = (questions(&few, part), questions(&many, part));
        assert_eq!(few[..], many[..few.len()]);
    }
    let held_out = questions(&many, Part::HeldOut);
    assert!((60..140).contains(&held_out.len()), "{}", held_out.len());
    assert!(questions(&many, Part::Train).iter().all(|question| !held_out.contains(question)));
}

#[test]
fn white_space_makes_no_other_question() {
    let twice = lines(100) + &lines(100).replace(" + ", "  +\\n");
    let (once, twice) = (read(&lines(100), PLAIN).unwrap(), read(&twice, PLAIN).unwrap());
    for part in [Part::Train, Part::HeldOut] {
        assert_eq!(questions(&once, part), questions(&twice, part));
    }
}

#[test]
fn white_space_moves_no_question_to_the_other_part() {
    let plain = read(&lines(200), PLAIN).unwrap();
    let spaced = read(&lines(200).replace(" + ", "  +\\n"), PLAIN).unwrap();
    for part in [Part::Train, Part::HeldOut] {
        let answers = |task: &Task| {
            (0..task.count(part) as u64).map(|i| task.problem(i, part).answer).collect::<Vec<_>>()
        };
        assert_eq!(answers(&plain), answers(&spaced));
    }
}

#[test]
fn bad_lines_are_named_with_file_and_line() {
    let good = r#"{"question":"1+1","answer":"2"}"#;
    for (line, wanted) in [
        (
            "{",
            "/problems.jsonl: line 2: EOF while parsing an object at column 1; want one JSON object in each line",
        ),
        ("[1]", "/problems.jsonl: line 2: the line: found an array, want an object"),
        (r#"{"answer":"2"}"#, "/problems.jsonl: line 2: question: found nothing, want a string"),
        (
            r#"{"question":1,"answer":"2"}"#,
            "/problems.jsonl: line 2: question: found a number, want a string",
        ),
        (
            r#"{"question":" ","answer":"2"}"#,
            "/problems.jsonl: line 2: question: found a string without text, want a string with text",
        ),
        (
            r#"{"question":"a"}"#,
            "/problems.jsonl: line 2: answer: found nothing, want a number or a string with text",
        ),
        (
            r#"{"question":"a","answer":null}"#,
            "/problems.jsonl: line 2: answer: found null, want a number or a string with text",
        ),
        (
            r#"{"question":"a","answer":""}"#,
            "/problems.jsonl: line 2: answer: found a string without text, want a number or a string with text",
        ),
        (
            r#"{"question":"1+1 ","answer":"3"}"#,
            "/problems.jsonl: line 2: found the answer \"3\" to a question that was answered with \"2\" before, want one answer to a question",
        ),
    ] {
        assert_eq!(read(&format!("{good}\n{line}\n"), PLAIN).unwrap_err(), wanted);
    }
}

#[test]
fn no_files_and_too_few_problems_are_named() {
    assert_eq!(
        read("", "kind.jsonl = { files = [] }").unwrap_err(),
        "task.kind.jsonl.files: found none, want at least one"
    );
    assert_eq!(
        read("", "kind.jsonl = { files = ['absent.jsonl'] }").unwrap_err(),
        "absent.jsonl: not found; want text, JSON lines or a folder of them"
    );
    assert_eq!(
        read("", PLAIN).unwrap_err(),
        "task.train_problems: found no number, want at least one problem to train on: \
         task.kind.jsonl.files give none"
    );
    let error = read(&lines(100), &format!("{PLAIN}\ntrain_problems = 100")).unwrap_err();
    assert!(error.starts_with("task.train_problems: found 100, want at most "), "{error}");
    let task = read(&lines(100), &format!("{PLAIN}\ntrain_problems = 10")).unwrap();
    assert_eq!(task.count(Part::Train), 10);
}
