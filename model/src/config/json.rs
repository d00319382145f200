//! JSON, strictly: no key twice, integers kept apart from other numbers, nesting bounded.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::ConfigError;

/// The keys and values of an object.
pub(super) type Object = BTreeMap<String, Json>;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// A number written without fraction and exponent that fits 64 bits.
    Integer(i128),
    /// Any other number.
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Object),
}

impl Json {
    /// Reads one document.
    ///
    /// Nesting deeper than 128 is an error, as is a number that no `f64` can hold.
    pub(super) fn parse(file: &str, text: &str) -> Result<Self, ConfigError> {
        let error = |line, column, reason: String| ConfigError::Json {
            file: file.into(),
            line,
            column,
            reason,
        };
        if text.starts_with('\u{feff}') {
            return Err(error(
                1,
                1,
                "a byte order mark: save the file as UTF-8 without BOM".into(),
            ));
        }
        if text.trim().is_empty() {
            return Err(error(1, 0, "the file is empty".into()));
        }
        serde_json::from_str(text).map_err(|e| {
            let reason = e.to_string();
            let position = format!(" at line {} column {}", e.line(), e.column());
            let reason = reason.strip_suffix(&position).unwrap_or(&reason);
            error(e.line(), e.column(), reason.into())
        })
    }
}

/// The value as it stands in the file; a long text is cut, and containers are only named.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Integer(i) => write!(f, "{i}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Text(s) => match s.char_indices().nth(60) {
                None => write!(f, "{s:?}"),
                Some((end, _)) => write!(f, "{:?}...", &s[..end]),
            },
            Self::Array(items) => write!(f, "an array of {}", items.len()),
            Self::Object(_) => f.write_str("an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Json, E> {
        Ok(Json::Bool(b))
    }

    fn visit_u64<E>(self, i: u64) -> Result<Json, E> {
        Ok(Json::Integer(i.into()))
    }

    fn visit_i64<E>(self, i: i64) -> Result<Json, E> {
        Ok(Json::Integer(i.into()))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Json, E> {
        Ok(Json::Float(x))
    }

    fn visit_str<E>(self, s: &str) -> Result<Json, E> {
        Ok(Json::Text(s.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut object = Object::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            let value = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}
