//! Settings that replace those of a file.

use std::str::FromStr;

use toml::{Table, Value};

use super::TrainConfigError;

/// A setting to be replaced, as users write it: `optimizer.learning_rate=1e-3`.
///
/// A value that is no TOML is text: `run.out=runs/other` needs no quotes.
///
/// ```
/// use latent_train::config::Override;
/// assert!("run.steps=100".parse::<Override>().is_ok());
/// assert!("run.steps".parse::<Override>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    sections: Vec<String>,
    key: String,
    value: Value,
}

impl FromStr for Override {
    type Err = TrainConfigError;

    fn from_str(text: &str) -> Result<Self, TrainConfigError> {
        let wrong = || TrainConfigError::Override { found: text.into() };
        let (path, value) = text.split_once('=').ok_or_else(wrong)?;
        let mut sections: Vec<String> = path.split('.').map(|p| p.trim().to_owned()).collect();
        let key = sections.pop().ok_or_else(wrong)?;
        if key.is_empty() || sections.iter().any(String::is_empty) {
            return Err(wrong());
        }
        let read = format!("value = {}", value.trim()).parse::<Table>().ok();
        // A line break could hide further keys.
        let read = read.filter(|table| table.len() == 1).and_then(|mut t| t.remove("value"));
        let value = read.unwrap_or_else(|| Value::String(value.trim().into()));
        Ok(Self { sections, key, value })
    }
}

impl Override {
    /// The same setting within a section; `None` where it is of another.
    ///
    /// ```
    /// use latent_train::config::Override;
    /// let set: Override = "rl.run.steps=100".parse()?;
    /// assert_eq!(set.within("rl"), Some("run.steps=100".parse()?));
    /// assert_eq!(set.within("run"), None);
    /// # Ok::<(), latent_train::config::TrainConfigError>(())
    /// ```
    #[must_use]
    pub fn within(&self, section: &str) -> Option<Self> {
        let (first, sections) = self.sections.split_first()?;
        let (sections, key, value) = (sections.to_vec(), self.key.clone(), self.value.clone());
        (first == section).then_some(Self { sections, key, value })
    }

    /// Puts the value in place of what the file says, or where it says nothing.
    pub(crate) fn apply(&self, table: &mut Table) -> Result<(), TrainConfigError> {
        let mut table = table;
        for (depth, section) in self.sections.iter().enumerate() {
            let entry = table.entry(section.clone());
            let Value::Table(inner) = entry.or_insert_with(|| Value::Table(Table::new())) else {
                let field = self.sections[..=depth].join(".");
                return Err(TrainConfigError::Type {
                    field,
                    detail: "found a value, want a section".into(),
                });
            };
            table = inner;
        }
        table.insert(self.key.clone(), self.value.clone());
        Ok(())
    }
}
