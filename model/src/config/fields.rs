//! The keys of one object, read by type and range.

use super::json::{Json, Object};
use super::{ConfigError, limits};

/// An object of a file, and where it lies there.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) file: &'a str,
    /// The key that holds the object, empty for the document itself.
    pub(super) parent: &'a str,
    pub(super) object: &'a Object,
}

impl<'a> Fields<'a> {
    /// The name of `key` in messages.
    pub(super) fn name(&self, key: &str) -> String {
        if self.parent.is_empty() { key.into() } else { format!("{}.{key}", self.parent) }
    }

    pub(super) fn missing(&self, key: &str) -> ConfigError {
        ConfigError::Missing { file: self.file.into(), field: self.name(key) }
    }

    pub(super) fn wrong(
        &self,
        key: &str,
        found: impl ToString,
        wanted: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value {
            file: self.file.into(),
            field: self.name(key),
            found: found.to_string(),
            wanted: wanted.into(),
        }
    }

    pub(super) fn unsupported(
        &self,
        key: &str,
        found: &Json,
        supported: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Unsupported {
            file: self.file.into(),
            field: self.name(key),
            found: found.to_string(),
            supported: supported.into(),
        }
    }

    /// The value of `key`, `None` where it is absent or null.
    pub(super) fn value(&self, key: &str) -> Option<&'a Json> {
        self.object.get(key).filter(|v| **v != Json::Null)
    }

    /// The size at `key`.
    pub(super) fn size(&self, key: &str) -> Result<usize, ConfigError> {
        let value = self.object.get(key).ok_or_else(|| self.missing(key))?;
        self.read_size(key, value)
    }

    /// The size at `key`, `None` where it is absent or null.
    pub(super) fn optional_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        self.value(key).map(|v| self.read_size(key, v)).transpose()
    }

    /// The size at `key`, `None` where it is null; it must be there.
    pub(super) fn nullable_size(&self, key: &str) -> Result<Option<usize>, ConfigError> {
        if self.object.contains_key(key) { self.optional_size(key) } else { Err(self.missing(key)) }
    }

    /// `value` as a size in the range of `key`.
    pub(super) fn read_size(&self, key: &str, value: &Json) -> Result<usize, ConfigError> {
        let range = limits::range(key);
        let size = match value {
            Json::Integer(i) => usize::try_from(*i).ok().filter(|i| range.contains(i)),
            _ => None,
        };
        let kind = if matches!(value, Json::Integer(_)) { "" } else { "an integer in " };
        size.ok_or_else(|| {
            self.wrong(key, value, format!("{kind}{}..={}", range.start(), range.end()))
        })
    }

    /// The number at `key`.
    pub(super) fn number(&self, key: &str) -> Result<f64, ConfigError> {
        let value = self.object.get(key).ok_or_else(|| self.missing(key))?;
        self.read_number(key, value)
    }

    /// The number at `key`, `None` where it is absent or null.
    pub(super) fn optional_number(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        self.value(key).map(|v| self.read_number(key, v)).transpose()
    }

    fn read_number(&self, key: &str, value: &Json) -> Result<f64, ConfigError> {
        match value {
            Json::Float(x) if x.is_finite() => Ok(*x),
            Json::Integer(i) => Ok(*i as f64),
            _ => Err(self.wrong(key, value, "a finite number")),
        }
    }

    /// The truth value at `key`, `default` where it is absent.
    pub(super) fn flag(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.object.get(key) {
            None => Ok(default),
            Some(Json::Bool(b)) => Ok(*b),
            Some(other) => Err(self.wrong(key, other, "true or false")),
        }
    }

    /// The meaning of the text at `key`, or `default` where it is absent.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[(&str, T)],
        default: Option<T>,
    ) -> Result<T, ConfigError> {
        let Some(value) = self.object.get(key) else {
            return default.ok_or_else(|| self.missing(key));
        };
        let found = choices.iter().find(|(name, _)| matches!(value, Json::Text(s) if s == name));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
            self.unsupported(key, value, names.join(", "))
        })
    }

    /// The object at `key`, `None` where it is absent or null.
    pub(super) fn object(&self, key: &'a str) -> Result<Option<Fields<'a>>, ConfigError> {
        match self.value(key) {
            None => Ok(None),
            Some(Json::Object(object)) => Ok(Some(Fields { file: self.file, parent: key, object })),
            Some(other) => Err(self.wrong(key, other, "an object")),
        }
    }
}
