//! Lines of JSON, and what is wrong with them.

use std::path::Path;

use serde_json::{Map, Value};

use crate::data::DataError;

/// A line of a file, numbered from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) path: &'a Path,
    pub(crate) number: usize,
}

impl Line<'_> {
    /// The object that the line is.
    pub(crate) fn object(self, json: &str) -> Result<Map<String, Value>, DataError> {
        let value: Value = serde_json::from_str(json).map_err(|e| DataError::Json {
            path: self.path.into(),
            line: self.number,
            // Its line is that of the text it was given, always 1.
            detail: e.to_string().replace("line 1 column", "column"),
        })?;
        match value {
            Value::Object(object) => Ok(object),
            other => Err(self.wrong("the line", Some(&other), "an object")),
        }
    }

    /// The text of a field.
    pub(crate) fn text<'o>(
        self,
        object: &'o Map<String, Value>,
        field: &str,
    ) -> Result<&'o str, DataError> {
        match object.get(field) {
            Some(Value::String(text)) => Ok(text),
            found => Err(self.wrong(field, found, "a string")),
        }
    }

    /// The error of a field that is not what is wanted.
    pub(crate) fn wrong(
        self,
        field: &str,
        found: Option<&Value>,
        wanted: &'static str,
    ) -> DataError {
        DataError::Field {
            path: self.path.into(),
            line: self.number,
            field: field.into(),
            found: found.map_or("nothing", type_name),
            wanted,
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(text) if text.trim().is_empty() => "a string without text",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
