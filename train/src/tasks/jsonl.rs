//! Questions and answers that were made elsewhere, one JSON object a line.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::problem::Rule;
use super::{Problem, TaskError};
use crate::data::file;
use crate::data::json::Line;
use crate::rewards::Match;

/// Settings of problems in files, as reasoning-gym exports them.
///
/// Every other field of a line, `metadata` among them, is passed over. Questions that differ in white
/// space alone are one problem: the first stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonlConfig {
    /// The files, one JSON object a line; empty lines are passed over.
    pub files: Vec<PathBuf>,
    /// The field of the question, a string.
    #[serde(default = "question")]
    pub question_field: String,
    /// The field of the answer, a string or a number, which is taken as it would be written.
    #[serde(default = "answer")]
    pub answer_field: String,
    /// When an answer is right.
    #[serde(default = "exact", rename = "match")]
    pub match_: Match,
}

fn question() -> String {
    "question".into()
}

fn answer() -> String {
    "answer".into()
}

fn exact() -> Match {
    Match::Exact
}

impl JsonlConfig {
    /// The problems of all files, in order, each with its question without surplus white space.
    pub(super) fn read(&self) -> Result<Vec<(String, Problem)>, TaskError> {
        let mut problems: Vec<(String, Problem)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for path in &self.files {
            let text = file::read(path)?;
            let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
            for (index, json) in lines {
                let line = Line { path, number: index + 1 };
                let (canonical, problem) = self.problem(line, json)?;
                let first = *places.entry(canonical.clone()).or_insert(problems.len());
                match problems.get(first) {
                    None => problems.push((canonical, problem)),
                    Some((_, before)) if self.match_.holds(&before.answer, &problem.answer) => {}
                    Some((_, before)) => {
                        return Err(TaskError::Contradiction {
                            path: path.clone(),
                            line: line.number,
                            found: problem.answer,
                            before: before.answer.clone(),
                        });
                    }
                }
            }
        }
        Ok(problems)
    }

    fn problem(&self, line: Line, json: &str) -> Result<(String, Problem), TaskError> {
        let object = line.object(json)?;
        let question = line.text(&object, &self.question_field)?;
        let canonical = question.split_whitespace().collect::<Vec<_>>().join(" ");
        if canonical.is_empty() {
            let found = object.get(&self.question_field);
            return Err(line.wrong(&self.question_field, found, "a string with text").into());
        }
        let answer = match object.get(&self.answer_field) {
            Some(Value::String(text)) if !text.trim().is_empty() => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            found => {
                let wanted = "a number or a string with text";
                return Err(line.wrong(&self.answer_field, found, wanted).into());
            }
        };
        let rule = Rule::Known(self.match_);
        let question = question.to_owned();
        Ok((canonical, Problem { task: "jsonl", question, answer, rule, worked: None }))
    }
}
